import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from server.errors import InferenceFailed
from server.generation.decoding import Decoding
from server.generation.sampling import Sampler

GREEDY = Decoding(max_tokens=100)
BORDER = 1e-5
"""What float32 may move a probability by: nearer to a border than this, the reference says nothing."""


def scores(rows, width, seed=0, spread=3.0):
    return np.random.default_rng(seed).normal(0, spread, (rows, width)).astype(np.float32)


def sampler(vocab_size, decodings, end=(1,), suppress=(0,), written=()):
    made = Sampler(vocab_size, end, suppress, max(1, len(decodings)))
    for decoding in decodings:
        made.join(decoding, written)
    return made


def adjust(logits, decoding, step, end, suppress, written):
    """Penalty, suppressed and too early end tokens, one by one."""
    found = [float(logit) for logit in logits]
    for token in set(written):
        found[token] *= decoding.repetition_penalty if found[token] < 0 else 1 / decoding.repetition_penalty
    for token in [*suppress, *(end if step < decoding.min_tokens else ())]:
        found[token] = -math.inf
    return found


def kept(logits, decoding):
    """Probabilities of what the filters leave, by sorting; None if a token lies at the border of a filter."""
    logits = [logit / decoding.temperature for logit in logits]
    if 0 < decoding.top_k < len(logits):
        least = sorted(logits)[-decoding.top_k]
        logits = [logit if logit >= least else -math.inf for logit in logits]
    weights = [math.exp(logit - max(logits)) for logit in logits]
    total, above = math.fsum(weights), 0.0
    left = [0.0] * len(weights)
    for token in sorted(range(len(weights)), key=lambda token: -weights[token]):
        if decoding.top_p < 1.0 and abs(above / total - decoding.top_p) < BORDER:
            return None
        if abs(weights[token] - decoding.min_p) < BORDER * decoding.min_p:
            return None
        if above / total < decoding.top_p and weights[token] >= decoding.min_p:
            left[token] = weights[token]
        above += weights[token]
    total = math.fsum(left)
    return [weight / total for weight in left]


def reference(logits, decoding, step, end, suppress, written):
    """The token of one row in float64; None where float32 may rightly say otherwise."""
    adjusted = adjust(logits, decoding, step, end, suppress, written)
    if not decoding.samples:
        first, second = sorted(adjusted)[-1:-3:-1]
        return adjusted.index(first) if first - second > BORDER else None
    probabilities = kept(adjusted, decoding)
    if probabilities is None:
        return None
    share = int(np.random.Philox(key=decoding.seed).random_raw(step + 1)[step] >> 11) / 2**53
    reached = 0.0
    for token, probability in enumerate(probabilities):
        if probability > 0.0 and min(abs(reached - share), abs(reached + probability - share)) < BORDER:
            return None
        reached += probability
        if reached > share:
            return token
    return None


DECODINGS = st.builds(
    Decoding,
    max_tokens=st.just(100),
    min_tokens=st.integers(0, 4),
    temperature=st.sampled_from([0.0, 0.0, 0.1, 0.7, 1.0, 2.0]),
    top_k=st.sampled_from([0, 1, 5, 40, 10_000]),
    top_p=st.sampled_from([1.0, 0.95, 0.5, 0.01]),
    min_p=st.sampled_from([0.0, 0.02, 0.5]),
    repetition_penalty=st.sampled_from([1.0, 0.8, 1.3, 2.0]),
    seed=st.integers(0, 2**63 - 1),
)


@given(
    decodings=st.lists(DECODINGS, min_size=1, max_size=8),
    width=st.sampled_from([6, 50, 700]),
    written=st.lists(st.integers(0, 5), max_size=4),
    seed=st.integers(0, 999),
)
@settings(max_examples=150, deadline=None)
def test_rows_of_any_parameters_get_what_a_plain_reference_chooses(decodings, width, written, seed):
    end, suppress = (1, 3), (0,)
    batch = sampler(width, decodings, end, suppress, written)
    texts = [list(written) for _ in decodings]
    for step in range(4):
        logits = scores(len(decodings), width, (seed, step))
        chosen = batch.choose(logits)
        assert chosen.failed == ()
        for row, decoding in enumerate(decodings):
            token = int(chosen.tokens[row])
            expected = reference(logits[row], decoding, step, end, suppress, texts[row])
            assert expected is None or token == expected
            exact = logits[row].astype(np.float64)
            assert chosen.logprobs[row] == pytest.approx(exact[token] - np.log(np.exp(exact).sum()), abs=1e-5)
            texts[row].append(token)


@given(
    decodings=st.lists(DECODINGS, min_size=2, max_size=12),
    width=st.sampled_from([6, 300, 20_000]),
    seed=st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_a_row_gets_the_same_alone_and_in_company(decodings, width, seed):
    together, alone = sampler(width, decodings), [sampler(width, [decoding]) for decoding in decodings]
    for step in range(3):
        logits = scores(len(decodings), width, (seed, step))
        chosen, singles = together.choose(logits), [one.choose(logits[[row]]) for row, one in enumerate(alone)]
        assert chosen.tokens.tolist() == [single.tokens[0] for single in singles]
        assert chosen.logprobs.tolist() == [single.logprobs[0] for single in singles]


@given(width=st.sampled_from([50, 2000]), seed=st.integers(0, 999))
@settings(max_examples=40, deadline=None)
def test_the_last_bits_of_logits_do_not_change_what_is_drawn(width, seed):
    decoding = Decoding(max_tokens=9, temperature=1.0, top_p=0.9, seed=seed)
    logits = scores(1, width, seed)
    expected = reference(logits[0], decoding, 0, (1,), (0,), ())
    assume(expected is not None)
    others = [np.nextafter(logits, np.float32(way)) for way in (-np.inf, np.inf)]
    assert [int(sampler(width, [decoding]).choose(given).tokens[0]) for given in others] == [expected] * 2


def test_draws_follow_the_distribution():
    width, steps = 12, 6000
    logits = scores(1, width, 5, spread=1.0)
    decoding = Decoding(max_tokens=steps, temperature=1.3, top_p=0.95, seed=11)
    batch = sampler(width, [decoding])
    counts = np.bincount([int(batch.choose(logits).tokens[0]) for _ in range(steps)], minlength=width)
    expected = steps * np.array(kept(adjust(logits[0], decoding, 0, (1,), (0,), ()), decoding))
    assert counts[expected == 0.0].sum() == 0
    drawn = expected > 0.0
    chi_square = ((counts[drawn] - expected[drawn]) ** 2 / expected[drawn]).sum()
    assert chi_square < 35.0  # of at most 10 degrees of freedom: 1 in 10,000


def test_draws_of_different_seeds_are_independent():
    rows = 4000
    batch = sampler(2, [Decoding(max_tokens=9, temperature=1.0, seed=seed) for seed in range(rows)], (), ())
    firsts, seconds = (batch.choose(np.zeros((rows, 2), np.float32)).tokens for _ in range(2))
    for ones in (firsts, seconds, firsts ^ seconds, firsts[1:] ^ firsts[:-1]):
        assert abs(ones.sum() - len(ones) / 2) < 4 * math.sqrt(len(ones) / 4)


def test_a_seed_repeats_its_draws_at_any_place_past_any_block():
    decoding = Decoding(max_tokens=300, temperature=1.0, seed=3)
    logits = np.zeros((1, 1000), np.float32)
    alone, late = sampler(1000, [decoding]), sampler(1000, [GREEDY, decoding])
    expected = [int(alone.choose(logits).tokens[0]) for _ in range(150)]
    late.choose(logits, np.array([0]))
    assert [int(late.choose(logits, np.array([1])).tokens[0]) for _ in range(100)] == expected[:100]
    late.leave(0)  # the other takes its place
    assert [int(late.choose(logits).tokens[0]) for _ in range(50)] == expected[100:]
    assert len(set(expected)) > 100


def test_equal_logits_give_the_lowest_id():
    logits = np.array([[0.0, 2.0, 2.0, 1.0]], np.float32)
    assert sampler(4, [GREEDY], (), ()).choose(logits).tokens.tolist() == [1]
    assert sampler(4, [GREEDY], (), (1,)).choose(logits).tokens.tolist() == [2]
    assert sampler(4, [Decoding(max_tokens=9, temperature=1e-40)], (), (1, 2)).choose(logits).tokens.tolist() == [3]


def test_logits_are_left_as_they_were():
    decodings = [
        GREEDY,
        Decoding(max_tokens=9, min_tokens=3, repetition_penalty=2.0),
        Decoding(max_tokens=9, temperature=1.0, top_k=3, top_p=0.5, min_p=0.1),
    ]
    batch, logits = sampler(20, decodings, written=(5,)), scores(3, 20)
    logits[:, 0] = 50.0
    before = logits.copy()
    batch.adjusted(logits)
    batch.choose(logits)
    assert logits.tolist() == before.tolist()


def test_end_tokens_wait_for_min_tokens():
    logits = np.array([[0.0, 9.0, 8.0, 7.0]], np.float32)
    for decoding in (Decoding(max_tokens=9, min_tokens=2), Decoding(max_tokens=9, min_tokens=2, temperature=0.01)):
        batch = sampler(4, [decoding], end=(1, 2))
        assert [int(batch.choose(logits).tokens[0]) for _ in range(3)] == [3, 3, 1]


def test_a_penalty_counts_what_came_before_and_what_was_written_once_each():
    logits = np.array([[4.0, 3.0, 2.0, -1.0]], np.float32)
    batch = sampler(4, [Decoding(max_tokens=9, repetition_penalty=2.0)], (), (), written=(0, 0, 3, 77, -5))
    assert batch.adjusted(logits).tolist() == [[2.0, 3.0, 2.0, -2.0]]
    assert batch.choose(logits).tokens.tolist() == [1]
    assert batch.adjusted(logits).tolist() == [[2.0, 1.5, 2.0, -2.0]]
    assert batch.choose(logits).tokens.tolist() == [0]


def test_the_order_is_penalty_then_temperature_then_top_k():
    logits = np.array([[4.0, 3.0, 2.5]], np.float32)
    decoding = Decoding(max_tokens=9, repetition_penalty=2.0, temperature=1.0, top_k=1)
    assert sampler(3, [decoding], (), (), written=(0,)).choose(logits).tokens.tolist() == [1]


def test_the_likeliest_tokens_are_the_models_own_and_under_the_rows_number():
    logits = np.log(np.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]], np.float32))
    asking = Decoding(max_tokens=9, logprobs=True, top_logprobs=2, temperature=5.0, top_k=1)
    chosen = sampler(3, [GREEDY, asking], suppress=(2,)).choose(logits)
    assert list(chosen.top) == [1]
    assert [token.id for token in chosen.top[1]] == [2, 1]
    assert [token.logprob for token in chosen.top[1]] == pytest.approx(np.log([0.7, 0.2]), abs=1e-6)
    again = sampler(3, [GREEDY, GREEDY, asking]).choose(logits[[1]], np.array([2]))
    assert list(again.top) == [2]


def test_rows_not_asked_for_keep_their_count_of_steps():
    batch = sampler(3, [Decoding(max_tokens=9, min_tokens=1)] * 3, suppress=())
    logits = np.array([[0.0, 9.0, 5.0]] * 3, np.float32)
    assert batch.choose(logits[:2], np.array([2, 0])).tokens.tolist() == [2, 2]
    assert batch.choose(logits).tokens.tolist() == [1, 2, 1]


BAD_ROWS = {
    "NaN": [1.0, np.nan, 0.0, 0.0],
    "NaN behind an infinite one": [np.inf, np.nan, 0.0, 0.0],
    "infinite": [1.0, np.inf, 0.0, 0.0],
    "nothing finite": [-np.inf] * 4,
    "only forbidden": [1.0, -np.inf, -np.inf, -np.inf],
}


@pytest.mark.parametrize("bad", BAD_ROWS.values(), ids=BAD_ROWS)
@pytest.mark.parametrize(
    "decoding",
    [
        GREEDY,
        Decoding(max_tokens=9, repetition_penalty=1.5, logprobs=True, top_logprobs=2),
        Decoding(max_tokens=9, temperature=1.0, top_k=2, top_p=0.9, min_p=0.1, seed=2),
    ],
    ids=["greedy", "penalised", "drawn"],
)
def test_a_row_without_usable_logits_fails_alone(bad, decoding):
    batch, others = sampler(4, [decoding] * 3), sampler(4, [decoding] * 2)
    good = scores(3, 4, 1)
    logits = good.copy()
    logits[1] = bad
    for _ in range(2):
        chosen, expected = batch.choose(logits), others.choose(good[[0, 2]])
        assert chosen.failed == (1,)
        assert chosen.tokens.tolist() == [expected.tokens[0], -1, expected.tokens[1]]
        assert chosen.logprobs[[0, 2]].tolist() == expected.logprobs.tolist()
        assert np.isnan(chosen.logprobs[1])
        assert 1 not in chosen.top


def test_impossible_tokens_are_never_drawn():
    logits = np.full((1, 500), -np.inf, np.float32)
    logits[0, [3, 499]] = 1.0
    batch = sampler(500, [Decoding(max_tokens=99, temperature=100.0, top_p=0.999, top_k=400)])
    assert {int(batch.choose(logits).tokens[0]) for _ in range(60)} == {3, 499}


@pytest.mark.parametrize("shape", [(2, 5), (1, 4), (3, 4), (2, 3), (8,), (1, 2, 4)])
def test_logits_of_another_shape_are_refused_with_both_shapes(shape):
    batch = sampler(4, [GREEDY, GREEDY])
    for take in (batch.choose, batch.adjusted):
        with pytest.raises(InferenceFailed, match=r"logits of shape \[.*\]; expected \[2, 4\]"):
            take(np.zeros(shape, np.float32))


def test_a_batch_without_rows_chooses_nothing():
    chosen = Sampler(4, (1,), (0,), 2).choose(np.zeros((0, 4), np.float32))
    assert (chosen.tokens.tolist(), chosen.logprobs.tolist(), chosen.top, chosen.failed) == ([], [], {}, ())


def test_more_rows_than_there_is_room_for_are_refused():
    batch = sampler(4, [GREEDY, GREEDY])
    with pytest.raises(ValueError, match="all 2 rows are taken"):
        batch.join(GREEDY)
    batch.leave(0)
    assert batch.join(GREEDY) == 1
    assert len(batch) == 2


@pytest.mark.parametrize("row", [-1, 2])
def test_a_row_that_is_not_there_cannot_leave(row):
    with pytest.raises(IndexError, match=f"row {row} of 2"):
        sampler(4, [GREEDY, GREEDY]).leave(row)


@given(order=st.lists(st.tuples(st.booleans(), st.integers(0, 7), DECODINGS), min_size=1, max_size=25))
@settings(max_examples=60, deadline=None)
def test_rows_keep_their_own_while_others_join_and_leave(order):
    """Each row of a batch that changes all the time writes what it writes in a batch of its own."""
    width, batch = 30, Sampler(30, (1,), (0,), 8)
    alone: list[Sampler] = []
    for step, (joins, place, decoding) in enumerate(order):
        if joins and len(alone) < 8:
            assert batch.join(decoding, (place,)) == len(alone)
            alone.append(sampler(width, [decoding], written=(place,)))
        elif alone:
            batch.leave(place % len(alone))
            alone[place % len(alone)] = alone[-1]
            alone.pop()
        logits = scores(len(alone), width, step)
        tokens = [int(one.choose(logits[[row]]).tokens[0]) for row, one in enumerate(alone)]
        assert batch.choose(logits).tokens.tolist() == tokens


def test_what_beams_have_written_follows_them():
    decoding = Decoding(max_tokens=9, num_beams=3, repetition_penalty=2.0, min_tokens=2)
    batch = sampler(6, [GREEDY, decoding, decoding, decoding], suppress=())
    rows, logits = np.array([1, 2, 3]), np.ones((3, 6), np.float32)
    for row, token in zip(rows, (3, 4, 5), strict=True):
        batch.record(int(row), token)
    batch.reorder(rows, np.array([2, 2, 1]))
    for row, token in zip(rows, (5, 0, 0), strict=True):
        batch.record(int(row), token)
    assert batch.adjusted(logits, rows).tolist() == [
        [1.0, 1.0, 1.0, 1.0, 0.5, 0.5],
        [0.5, 1.0, 1.0, 1.0, 0.5, 1.0],
        [0.5, 1.0, 1.0, 0.5, 1.0, 1.0],
    ]


def test_recorded_tokens_count_as_steps():
    batch = sampler(3, [Decoding(max_tokens=9, min_tokens=2)], suppress=())
    logits = np.array([[0.0, 9.0, 5.0]], np.float32)
    batch.record(0, 2)
    assert batch.adjusted(logits)[0, 1] == -np.inf
    batch.record(0, 2)
    assert batch.adjusted(logits)[0, 1] == 9.0
