import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.errors import InferenceFailed
from server.generation.beams import Beams, BeamStep, Hypothesis
from server.generation.decoding import Decoding
from server.generation.distribution import log_softmax
from server.generation.sampling import Sampler

START = 0

TABLE = [
    [1.9, -2.5, -2.0, -1.6, -1.9, 1.8, 2.3, 0.5],
    [-2.8, -2.5, -1.0, -0.4, 0.7, -0.1, -1.4, -2.1],
    [1.2, 2.4, -2.9, -2.4, -0.3, -0.7, 2.4, 0.1],
    [-0.5, 1.6, 1.0, 0.5, -2.0, 1.5, 1.6, 2.8],
    [1.7, 0.2, -1.1, 0.9, 0.9, 1.2, 2.3, -1.3],
    [2.7, -3.0, -2.6, 2.9, 2.7, -1.2, -2.2, -1.1],
    [-2.8, 2.9, 1.0, 0.5, -1.6, -0.2, -1.9, 1.7],
    [-0.2, -1.9, -1.5, 1.3, 0.1, -0.8, -1.5, -2.5],
]
"""The logits of what follows each token: a whole model."""

GOLDEN = {
    "two beams": (
        {"num_beams": 2, "num_sequences": 2, "max_tokens": 8},
        ((1,), ()),
        [([6, 1], -0.6958555579185486, [0, 0]), ([0, 6, 1], -0.9025586247444153, [0, 1, 0])],
    ),
    "long texts favoured, no room left": (
        {"num_beams": 3, "num_sequences": 3, "max_tokens": 8, "length_penalty": 2.0},
        ((1,), ()),
        [
            ([5, 3, 7, 3, 7, 3, 7, 3], -0.10257605463266373, [0, 2, 1, 0, 0, 0, 0, 0]),
            ([6, 7, 3, 7, 3, 7, 3, 7], -0.10551299154758453, [0, 0, 2, 1, 1, 1, 1, 1]),
            ([0, 6, 7, 3, 7, 3, 7, 3], -0.11385796964168549, [0, 1, 0, 2, 2, 2, 2, 2]),
        ],
    ),
    "no length penalty": (
        {"num_beams": 4, "num_sequences": 3, "max_tokens": 10, "length_penalty": 0.0},
        ((1,), ()),
        [
            ([6, 1], -1.3917111158370972, [0, 0]),
            ([0, 6, 1], -2.7076759338378906, [0, 1, 0]),
            ([5, 0, 6, 1], -3.9954581260681152, [0, 2, 3, 2]),
        ],
    ),
    "short texts favoured": (
        {"num_beams": 3, "num_sequences": 2, "max_tokens": 3, "length_penalty": -1.0},
        ((1,), ()),
        [([6, 1], -2.7834222316741943, [0, 0]), ([0, 6, 1], -8.123027801513672, [0, 1, 0])],
    ),
    "two end tokens": (
        {"num_beams": 2, "num_sequences": 2, "max_tokens": 7},
        ((1, 6), ()),
        [([6], -0.9159649014472961, [0]), ([0, 6], -1.1159648895263672, [0, 0])],
    ),
    "repetition penalty": (
        {"num_beams": 4, "num_sequences": 2, "max_tokens": 6, "length_penalty": 0.6, "repetition_penalty": 1.5},
        ((1,), ()),
        [([6, 1], -0.9181869029998779, [0, 0]), ([0, 6, 1], -1.7409940958023071, [0, 2, 3])],
    ),
    "min tokens and suppressed ones": (
        {"num_beams": 3, "num_sequences": 2, "max_tokens": 9, "min_tokens": 4},
        ((1,), (0, 5)),
        [
            ([6, 7, 3, 7, 3, 7, 3, 7, 3], -0.8175539374351501, [0] * 9),
            ([7, 3, 7, 3, 7, 3, 7, 3, 7], -0.9182361960411072, [0, 1, 2, 1, 1, 1, 1, 1, 1]),
        ],
    ),
}
"""Decoding, end and suppressed tokens, and what transformers 5.23.0 answered on TABLE: sequences with their end token,
sequences_scores and beam_indices."""


def search(model, decoding, end=(1,), suppress=()):
    """Runs a search as a lane does, on the rows of a sampler; `model` gives the logits after a text."""
    rows = np.arange(decoding.num_beams)
    sampler = Sampler(len(model([START])), end, suppress, decoding.num_beams)
    for _ in rows:
        sampler.join(decoding, (START,))
    beams, texts = Beams(decoding, end, decoding.max_tokens), [[START] for _ in rows]
    while True:
        own = log_softmax(np.array([model(text) for text in texts], np.float32))
        step = beams.advance(sampler.adjusted(own, rows), own)
        if beams.done:
            return beams.finished()
        sampler.reorder(rows, rows[step.parents])
        texts = [[*texts[parent], token] for parent, token in zip(step.parents, step.tokens.tolist(), strict=True)]
        for row, token in enumerate(step.tokens.tolist()):
            sampler.record(row, token)


def reference(model, decoding, end=(1,), suppress=()):
    """The same search over plain lists of whole texts, in float64: [(ids, score, ended)]."""
    width, power = decoding.num_beams, decoding.length_penalty
    running, found = [(0.0, ())], []
    for length in range(1, decoding.max_tokens + 1):
        continued = []
        for total, ids in running:
            text = [START, *ids]
            logits = np.array(model(text), np.float64)
            scores = logits - np.log(np.exp(logits).sum())
            for token, score in enumerate(scores.tolist()):
                if token in text:
                    score *= decoding.repetition_penalty  # a log probability is never above 0
                if token not in suppress and not (token in end and length <= decoding.min_tokens):
                    continued.append((total + score, (*ids, token)))
        continued.sort(key=lambda one: -one[0])
        full = length == decoding.max_tokens
        for total, ids in continued[:width]:
            if full or ids[-1] in end:
                found.append((total / length**power, ids))
        found = sorted(found, key=lambda one: -one[0])[:width]
        running = [one for one in continued[: width * max(2, 1 + len(end))] if one[1][-1] not in end][:width]
        if not running or (len(found) == width and running[0][0] / length**power <= found[-1][0]):
            break
    return [
        (ids[:-1] if ids[-1] in end else ids, score, ids[-1] in end) for score, ids in found[: decoding.num_sequences]
    ]


def random_model(vocab_size, seed, end=(1,), eagerness=0.0):
    """Logits that follow from the place and the last token, so that no two texts have equal sums."""
    table = np.random.default_rng(seed).normal(0, 2, (16, vocab_size, vocab_size))
    table[..., list(end)] += eagerness
    return lambda text: table[len(text) - 1, text[-1]]


def uneven(decoding):
    """A search of two beams over four tokens, whose first step is taken: beams at tokens 2 and 3."""
    beams = Beams(decoding, (1,), decoding.max_tokens)
    beams.advance(np.log(np.array([[1e-9, 1e-9, 0.6, 0.4]] * 2, np.float32)))
    return beams


@pytest.mark.parametrize(("choices", "tokens", "expected"), GOLDEN.values(), ids=GOLDEN)
def test_searches_give_the_numbers_of_transformers(choices, tokens, expected):
    found = search(lambda text: TABLE[text[-1]], Decoding(**choices), *tokens)
    assert [[*one.ids] for one in found] == [ids[:-1] if ids[-1] in tokens[0] else ids for ids, _, _ in expected]
    assert [one.score for one in found] == pytest.approx([score for _, score, _ in expected], rel=1e-5)
    assert [[*one.rows] for one in found] == [
        rows[: len(ids) - one.ended] for one, (ids, _, rows) in zip(found, expected, strict=True)
    ]


@given(
    beams=st.integers(2, 8),
    room=st.integers(1, 9),
    least=st.integers(0, 4),
    penalty=st.sampled_from([-1.0, 0.0, 0.6, 1.0, 2.0]),
    repetition=st.sampled_from([1.0, 1.0, 0.8, 1.5]),
    vocab_size=st.sampled_from([5, 12, 60]),
    end=st.sampled_from([(1,), (1, 3)]),
    eagerness=st.sampled_from([-2.0, 0.0, 2.0, 4.0]),
    seed=st.integers(0, 9999),
)
@settings(max_examples=200)
def test_searches_find_what_plain_lists_of_texts_find(
    beams, room, least, penalty, repetition, vocab_size, end, eagerness, seed
):
    decoding = Decoding(
        max_tokens=room,
        min_tokens=min(least, room),
        num_beams=beams,
        num_sequences=beams,
        length_penalty=penalty,
        repetition_penalty=repetition,
    )
    model = random_model(vocab_size, seed, end, eagerness)
    found, expected = search(model, decoding, end, (2,)), reference(model, decoding, end, (2,))
    assert [(one.ids, one.ended) for one in found] == [(ids, ended) for ids, _, ended in expected]
    assert [one.score for one in found] == pytest.approx([score for _, score, _ in expected], rel=1e-4, abs=1e-5)


@given(penalty=st.sampled_from([0.0, 1.0]), seed=st.integers(0, 9999))
def test_as_many_beams_as_texts_find_the_best_of_all(penalty, seed):
    model = random_model(3, seed)
    texts = [ids for length in (1, 2, 3) for ids in itertools.product(range(3), repeat=length)]
    texts = [ids for ids in texts if 1 not in ids[:-1] and (ids[-1] == 1 or len(ids) == 3)]
    scores = {}
    for ids in texts:
        steps = [log_softmax(np.array([model([START, *ids[:place]])]))[0, token] for place, token in enumerate(ids)]
        scores[ids] = math.fsum(steps) / len(ids) ** penalty
    decoding = Decoding(max_tokens=3, num_beams=16, num_sequences=16, length_penalty=penalty)
    found = search(model, decoding)
    assert len(found) == len(texts) == 15
    best = max(scores, key=lambda ids: scores[ids])
    assert found[0].ids == (best[:-1] if best[-1] == 1 else best)
    assert [one.score for one in found] == pytest.approx(sorted(scores.values(), reverse=True), rel=1e-5)


@given(
    beams=st.integers(2, 6),
    room=st.integers(1, 8),
    eagerness=st.sampled_from([0.0, 3.0]),
    repetition=st.sampled_from([1.0, 1.5]),
    seed=st.integers(0, 9999),
)
def test_reported_log_probabilities_are_the_models_own_at_each_token(beams, room, eagerness, repetition, seed):
    decoding = Decoding(
        max_tokens=room,
        num_beams=beams,
        num_sequences=beams,
        repetition_penalty=repetition,
        logprobs=True,
        top_logprobs=3,
    )
    model = random_model(12, seed, eagerness=eagerness)
    for one in search(model, decoding, (1,), (2,)):
        assert len(one.ids) == len(one.logprobs) == len(one.rows) == len(one.top)
        for place, token in enumerate(one.ids):
            own = log_softmax(np.array([model([START, *one.ids[:place]])], np.float32))[0]
            assert one.logprobs[place] == own[token]
            assert [top.id for top in one.top[place]] == np.argsort(-own)[:3].tolist()
        if repetition == 1.0 and not one.ended:
            assert one.score == pytest.approx(sum(one.logprobs) / len(one.ids), rel=1e-5)


def test_without_the_models_own_numbers_those_of_the_ranking_are_reported():
    beams = Beams(Decoding(max_tokens=1, num_beams=2), (1,), 1)
    ranked = np.log(np.array([[0.1, 0.2, 0.3, 0.4]] * 2, np.float32))
    beams.advance(ranked)
    assert [one.logprobs for one in beams.finished()] == [(float(ranked[0, 3]),)]


def test_only_the_first_row_counts_at_the_first_step():
    ranked = np.log(np.array([[0.1, 0.1, 0.5, 0.3], [0.97, 0.01, 0.01, 0.01]], np.float32))
    for rows in (ranked, ranked[:1]):
        step = Beams(Decoding(max_tokens=9, num_beams=2), (1,), 9).advance(rows)
        assert isinstance(step, BeamStep)
        assert (step.tokens.dtype, step.tokens.tolist(), step.parents.tolist()) == (np.int64, [2, 3], [0, 0])


def test_equal_continuations_keep_the_order_of_beam_then_token():
    beams = Beams(Decoding(max_tokens=9, num_beams=3), (1,), 9)
    even = np.log(np.full((3, 5), 0.2, np.float32))
    assert beams.advance(even).tokens.tolist() == [0, 2, 3]
    step = beams.advance(even)
    assert (step.parents.tolist(), step.tokens.tolist()) == ([0, 0, 0], [0, 2, 3])


def test_an_end_behind_the_first_beams_makes_no_hypothesis():
    beams = Beams(Decoding(max_tokens=9, num_beams=2, num_sequences=2), (1,), 9)
    beams.advance(np.log(np.array([[0.1, 0.2, 0.3, 0.4]] * 2, np.float32)))
    assert beams.finished() == []


def test_a_search_ends_when_no_beam_can_beat_the_worst_hypothesis():
    beams = uneven(Decoding(max_tokens=9, num_beams=2, num_sequences=2))
    beams.advance(np.log(np.array([[0.01, 0.9, 0.05, 0.04]] * 2, np.float32)))
    assert beams.done
    assert [(one.ids, one.ended) for one in beams.finished()] == [((2,), True), ((3,), True)]
    assert [one.score for one in beams.finished()] == pytest.approx(np.log([0.6 * 0.9, 0.4 * 0.9]) / 2, rel=1e-5)
    with pytest.raises(ValueError, match="the search is done"):
        beams.advance(np.zeros((2, 4), np.float32))


def test_a_text_that_ends_at_once_is_empty():
    beams = Beams(Decoding(max_tokens=1, num_beams=2, num_sequences=2), (1,), 1)
    beams.advance(np.log(np.array([[0.1, 0.6, 0.2, 0.1]] * 2, np.float32)))
    first, second = beams.finished()
    assert (first.ids, first.logprobs, first.rows, first.ended) == ((), (), (), True)
    assert (second.ids, second.ended) == ((2,), False)


def test_places_that_no_text_can_fill_stay_empty():
    """Two tokens, of which one ends: there is one text of each length."""
    found = search(lambda text: [0.0, 1.0], Decoding(max_tokens=3, num_beams=4, num_sequences=4))
    assert sorted(one.ids for one in found) == [(), (0,), (0, 0), (0, 0, 0)]
    assert len(search(lambda text: [0.0, 1.0], Decoding(max_tokens=2, num_beams=4, num_sequences=4))) == 3


def test_a_search_without_any_further_text_is_done():
    beams = Beams(Decoding(max_tokens=9, num_beams=2, num_sequences=2), (1,), 9)
    beams.advance(np.array([[-np.inf, 0.0, -np.inf]] * 2, np.float32))
    assert beams.done
    assert [one.ids for one in beams.finished()] == [()]


def test_rows_of_dead_beams_may_hold_anything():
    beams = Beams(Decoding(max_tokens=9, num_beams=2, logprobs=True, top_logprobs=1), (1,), 9)
    only = np.array([[-np.inf, -np.inf, 0.0]] * 2, np.float32)
    beams.advance(only)
    only[1] = np.nan
    step = beams.advance(only)
    assert (step.tokens[0], step.parents[0]) == (2, 0)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("row", [0, 1])
def test_scores_that_are_no_numbers_fail(bad, row):
    beams = uneven(Decoding(max_tokens=9, num_beams=2))
    logprobs = np.zeros((2, 4), np.float32)
    logprobs[row, 1] = bad
    with pytest.raises(InferenceFailed, match="nothing can be chosen"):
        beams.advance(logprobs)


def test_nothing_but_impossible_continuations_fail_only_where_nothing_was_found():
    impossible = np.full((2, 4), -np.inf, np.float32)
    with pytest.raises(InferenceFailed, match="none finite"):
        uneven(Decoding(max_tokens=9, num_beams=2)).advance(impossible)
    beams = Beams(Decoding(max_tokens=9, num_beams=2, num_sequences=2), (1,), 9)
    beams.advance(np.log(np.array([[0.1, 0.6, 0.2, 0.1]] * 2, np.float32)))
    beams.advance(impossible)
    assert beams.done
    assert [one.ids for one in beams.finished()] == [()]


@pytest.mark.parametrize("shape", [(1, 4), (3, 4), (4,), (2, 2, 4)])
def test_rows_that_are_not_the_beams_fail(shape):
    with pytest.raises(InferenceFailed, match="for 2 beams"):
        uneven(Decoding(max_tokens=9, num_beams=2)).advance(np.zeros(shape, np.float32))


def test_a_search_needs_room():
    with pytest.raises(ValueError, match="room for 0 tokens"):
        Beams(Decoding(max_tokens=1, num_beams=2), (1,), 0)


@pytest.mark.parametrize("power", [-10.0, 10.0])
def test_extreme_length_penalties_lose_no_text(power):
    decoding = Decoding(max_tokens=15, num_beams=4, num_sequences=4, length_penalty=power)
    found = search(random_model(6, 1, eagerness=-4.0), decoding)
    assert len(found) == 4
    assert all(isinstance(one, Hypothesis) and len(one.ids) + one.ended <= 15 for one in found)
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
