"""Requests join, are stepped, and leave, in simulated time; every text is held against one written by itself."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.generation.observer import RunKind
from tests.support.adder import LONGEST, LONGEST_SOURCE, START, Adder, number_of, scores_of
from tests.support.writing import ENCODE_S, STEP_S, Desk

FAMILIES = {
    "sums of a source": ("sums", True, 1),
    "sums": ("sums", False, 1),
    "buffers beside a source": ("shared", True, 1),
    "buffers beside a source, read by parts": ("shared", True, 4),
    "buffers, read by parts": ("shared", False, 4),
    "copies beside a source": ("copied", True, 1),
    "copies, read by parts": ("copied", False, 4),
}
BY_PARTS = {"kind": "shared", "encodes": False, "max_new": 4}
LONG = [5, 6, 7, 8, 9, 10, 11, 12, 13, 14]


@pytest.fixture(params=FAMILIES.values(), ids=FAMILIES.keys())
def family(request):
    kind, encodes, max_new = request.param
    return {"kind": kind, "encodes": encodes, "max_new": max_new}


def kinds(desk):
    return [record.kind.value for record in desk.ledger.records]


# --- joining and leaving ----------------------------------------------------------------------------------------------


def test_a_text_by_itself_is_what_the_model_writes(open_desk, family):
    desk = open_desk(**family)
    desk.ask_at(1.0, [5, 6, 7], 8)
    desk.ask_at(2.0, LONG, 8, prefix=[3, 4, 3, 4, 3])
    desk.ask_at(3.0, [4], 1)
    desk.run()


def test_texts_that_join_at_every_step_are_as_by_themselves(open_desk, family):
    desk = open_desk(**family, max_rows=5, turn_s=0)
    for number in range(60):
        ids = [3 + number % 7, 4, 5 + number % 3][: 1 + number % 3]
        desk.ask_at(STEP_S * number / 2, ids, 1 + number % 9, min_tokens=number % 6, prefix=[7] * (number % 3))
    desk.run()
    steps = desk.ledger.rows_of(RunKind.STEP)
    assert max(steps) == 5, "rows share steps"
    assert len(set(steps)) > 2


def test_whoever_comes_during_a_turn_of_several_steps_joins_before_the_next_step(open_desk):
    desk = open_desk(encodes=False, turn_s=1.0)
    desk.ask_at(0.0, [5, 6, 7], 12, min_tokens=12)

    def come(kind):
        if desk.adder.ran.count(("step", 1, ())) == 4 and len(desk.texts) == 1:
            desk.ask([8], 3, min_tokens=3)

    desk.adder.during = come
    desk.run()
    assert desk.ledger.rows_of(RunKind.STEP) == [1] * 4 + [2] * 4 + [1] * 7, (
        "prompts count: they are read in steps here"
    )


def test_texts_that_end_leave_and_are_told_while_a_turn_of_several_steps_goes_on(open_desk):
    desk, runs = open_desk(turn_s=1.0), []
    step_run = desk.lane._step_run
    desk.lane._step_run = lambda: runs.append(1) or step_run()
    for count in (3, 5, 12):
        desk.ask_at(0.0, [5, 6, count], count, min_tokens=count)
    desk.run()
    assert desk.ledger.rows_of(RunKind.STEP) == [3] * 3 + [2] * 2 + [1] * 7
    assert len(runs) == 1


def test_whoever_waits_for_a_slot_joins_as_soon_as_one_is_free(open_desk):
    desk = open_desk(encodes=False, turn_s=1.0, max_rows=2)
    for count in (3, 12, 4, 2):
        desk.ask_at(0.0, [5], count, min_tokens=count)
    desk.run()
    assert desk.ledger.rows_of(RunKind.STEP) == [1] + [2] * 11 + [1] * 2, "prompts count: they are read in steps here"


def test_rows_that_may_not_share_a_run_are_written_one_after_another(open_desk, family):
    desk = open_desk(**family, together=False)
    for number in range(4):
        desk.ask_at(0.0, [3 + number, 4], 5)
    desk.run()
    assert set(desk.ledger.rows_of(RunKind.STEP)) == {1}


def test_static_batches_let_nobody_join_until_they_are_empty(open_desk):
    desk = open_desk(static=True, max_rows=3)
    for number in range(5):
        desk.ask_at(0.0, [5], 4 if number else 8, min_tokens=4 if number else 8)
    desk.ask_at(ENCODE_S + 5 * STEP_S, [6], 4, min_tokens=4)
    desk.run()
    assert desk.ledger.rows_of(RunKind.ENCODE) == [3, 3]
    assert desk.ledger.rows_of(RunKind.STEP) == [3] * 8 + [3] * 4, "all rows to the end of the longest"


def test_static_batches_read_all_prompts_before_the_first_step(open_desk):
    desk = open_desk(**BY_PARTS, static=True, max_rows=3)
    for _ in range(4):
        desk.ask_at(0.0, [5, 6, 7, 8, 9], 4, min_tokens=4)
    desk.run()
    assert kinds(desk) == ["prefill"] * 6 + ["step"] * 3 + ["prefill"] * 2 + ["step"] * 3
    assert desk.ledger.rows_of(RunKind.STEP) == [3] * 3 + [1] * 3


# --- prompts and prefixes ---------------------------------------------------------------------------------------------


def test_a_prompt_is_read_by_parts_by_turns_with_steps(open_desk):
    desk = open_desk(**BY_PARTS, turn_s=0, prefill_tokens=4)
    desk.ask_at(0.0, [5, 6], 12, min_tokens=12)
    desk.ask_at(STEP_S * 2.5, LONG, 4, min_tokens=4)
    desk.run()
    both = kinds(desk)
    assert both[:1] == ["prefill"]
    first = both.index("prefill", 1)
    assert both[first : first + 5] == ["prefill", "step", "prefill", "step", "prefill"]


def test_no_run_reads_more_of_a_prompt_than_the_settings_and_the_model_allow(open_desk):
    desk = open_desk(kind="shared", encodes=False, max_new=8, prefill_tokens=3)
    desk.ask_at(0.0, LONG, 2)
    desk.run()
    read = [record.tokens for record in desk.ledger.records if record.kind is RunKind.PREFILL]
    assert read == [3, 3, 3, 2], "the start and ten tokens"


def test_a_prefix_is_read_one_by_one_where_the_model_takes_no_more(open_desk):
    desk = open_desk()
    desk.ask_at(0.0, [5], 2, prefix=[7, 8, 9], min_tokens=2)
    desk.run()
    assert kinds(desk) == ["encode"] + ["step"] * 5
    assert desk.texts[0].generated.timing.steps == 5


def test_as_many_positions_as_the_model_takes_may_be_written(open_desk, family):
    desk = open_desk(**family)
    begins = 1 if family["encodes"] else 1 + LONGEST_SOURCE
    desk.ask_at(0.0, [5] * LONGEST_SOURCE, LONGEST - begins + 1, min_tokens=LONGEST - begins + 1)
    assert desk.run() == ["length"]


@pytest.mark.parametrize("choices", [{"temperature": 1.5, "seed": 7}, {"repetition_penalty": 1.7}])
def test_what_is_drawn_or_penalised_does_not_depend_on_the_company(open_desk, family, choices):
    alone, crowd = open_desk(**family), open_desk(**family, max_rows=6, turn_s=0)
    alone.ask_at(0.0, [5, 6, 7], 12, prefix=[9, 3], min_tokens=12, **choices)
    alone.run()
    for number in range(30):
        same = number % 5 == 2
        more = {"prefix": [9, 3], "min_tokens": 12, **choices} if same else {"temperature": 1.0, "seed": number}
        crowd.ask_at(STEP_S * number, [5, 6, 7] if same else [8, 4], 12 if same else 1 + number % 6, **more)
    crowd.run()
    texts = [text.written for text in crowd.texts if text.ids == (5, 6, 7)]
    assert texts == [alone.texts[0].written] * 6


# --- beams ------------------------------------------------------------------------------------------------------------


def test_beams_beside_plain_rows_are_as_by_themselves(open_desk, family):
    alone = open_desk(**family)
    alone.ask_at(0.0, [5, 6, 7], 8, num_beams=4, num_sequences=4, prefix=[9, 3])
    alone.run()
    crowd = open_desk(**family, max_rows=9)
    for number in range(12):
        crowd.ask_at(STEP_S * number, [3 + number, 4], 1 + number % 5, prefix=[6] * (number % 4))
        if number % 4 == 1:
            crowd.ask_at(STEP_S * number, [5, 6, 7], 8, num_beams=4, num_sequences=4, prefix=[9, 3])
    crowd.run()
    (expected,) = alone.texts
    followed = [text for text in crowd.texts if text.decoding.num_beams == 4]
    assert len(followed) == 3
    for text in followed:
        assert sequences(text) == sequences(expected)


def sequences(text):
    return [(one.ids, one.text, one.finish, one.score) for one in text.generated.sequences]


def test_beams_whose_rows_have_been_moved_follow_their_prefix_together(open_desk):
    """Rows are moved when others leave, so that the first of them need not stand before the others."""
    desk = open_desk(max_rows=6)
    desk.ask_at(0.0, [5], 2)
    desk.ask_at(0.0, [6], 3)
    desk.ask_at(0.0, [5, 6, 7], 8, num_beams=4, num_sequences=4, prefix=[9, 3, 9, 3, 9])
    desk.run()
    alone = open_desk()
    alone.ask_at(0.0, [5, 6, 7], 8, num_beams=4, num_sequences=4, prefix=[9, 3, 9, 3, 9])
    alone.run()
    assert sequences(desk.texts[2]) == sequences(alone.texts[0])


def test_what_beams_wrote_is_counted_by_the_best_of_them(open_desk):
    desk = open_desk()
    desk.ask_at(0.0, [5, 6, 7], 3, num_beams=3, num_sequences=3)
    desk.run()
    best = desk.texts[0].generated.sequences[0]
    assert desk.ledger.finishes == [(3, len(best.ids) + (best.finish == "end"))]
    assert [reason.value for reason in desk.ledger.reasons] == [best.finish.value]


def test_beams_that_are_streamed_come_whole(open_desk):
    desk = open_desk()
    desk.ask_at(0.0, [5, 6, 7], 5, num_beams=3, streamed=True)
    desk.run()
    (text,) = desk.texts
    assert len(text.increments) == 1
    assert text.increments[0].finish is not None


# --- who goes first ---------------------------------------------------------------------------------------------------


def ends(desk):
    return [text.ids for text in sorted(desk.texts, key=lambda text: text.ended_at)]


def test_a_higher_priority_joins_first(open_desk):
    desk = open_desk(max_rows=1)
    for number, priority in enumerate((0, 0, 5, 1)):
        desk.ask_at(0.0, [3 + number], 4, min_tokens=4, priority=priority)
    desk.run()
    assert ends(desk) == [(5,), (6,), (3,), (4,)]


def test_nobody_waits_longer_than_the_age_bound_for_those_of_higher_priority(open_desk):
    desk = open_desk(max_rows=1, max_age_s=0.02)
    desk.ask_at(0.0, [3], 4, min_tokens=4)
    for number in range(20):
        desk.ask_at(0.001 * number, [4], 4, min_tokens=4, priority=5)
    desk.run()
    assert 0.02 < desk.texts[0].ended_at < 0.04


def test_whoever_needs_many_slots_is_not_passed_over(open_desk):
    desk = open_desk(max_rows=4, max_age_s=1000.0)
    for number in range(8):
        desk.ask_at(0.0, [3 + number], 6, min_tokens=6)
    desk.ask_at(0.0, [5, 6], 6, num_beams=4, min_tokens=6)
    for _ in range(8):
        desk.ask_at(0.001, [3], 6, min_tokens=6)
    desk.run()
    beams = desk.texts[8]
    assert sum(text.ended_at < beams.ended_at for text in desk.texts) == 8


# --- memory -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["sums", "shared", "copied"])
def test_states_never_take_more_bytes_than_they_may(open_desk, kind):
    most = 3 * 8 * (LONGEST + LONGEST_SOURCE)
    desk = open_desk(kind=kind, max_state_bytes=most)
    seen = []
    desk.adder.during = lambda _: seen.append(desk.lane.state().state_bytes)
    for number in range(20):
        desk.ask_at(STEP_S * number, [3 + number % 5] * (1 + number % LONGEST_SOURCE), 1 + 2 * (number % 15))
    desk.run()
    assert 0 < max(seen) <= most
    assert max(desk.ledger.rows_of(RunKind.STEP)) >= 3


# --- what is told -----------------------------------------------------------------------------------------------------


def test_attention_is_computed_only_in_steps_where_somebody_asked(open_desk):
    desk = open_desk(kind="shared", encodes=True)
    desk.ask_at(0.0, [5, 6], 8, min_tokens=8)
    desk.ask_at(0.0, [7], 3, attention=("look_own",), min_tokens=3)
    desk.run()
    maps = [names for kind, _, names in desk.adder.ran if kind == "step"]
    assert maps == [("look_own",)] * 3 + [()] * 5
    plain, traced = desk.texts
    assert plain.generated.sequences[0].attention is None
    assert list(traced.generated.sequences[0].attention) == ["look_own"]


def expected_maps(text, family, name):
    """[1, 1, tokens, keys] by hand."""
    ids = text.written
    source = list(text.ids)
    fed = [START, *([] if family["encodes"] else source), *text.prefix]
    keys = len(source) if name == "look_source" else len(fed) + len(ids) - 1
    expected = np.zeros((1, 1, len(ids), keys), np.float32)
    for place in range(len(ids)):
        seen = source if name == "look_source" else [token + 1 for token in (*fed, *ids[:place])]
        expected[0, 0, place, : len(seen)] = np.array(seen) / sum(seen)
    return expected


def test_attention_is_over_each_rows_own_keys(open_desk, family):
    if family == {"kind": "sums", "encodes": False, "max_new": 1}:
        pytest.skip("has no attention")
    desk = open_desk(**family)
    names = tuple(output.name for output in desk.writer.manifest.outputs if output.role == "attention")
    for number in range(6):
        ids = [3 + number, 4, 5][: 1 + number % 3]
        more = {"attention": names, "min_tokens": 1, "streamed": number % 2 == 0}
        desk.ask_at(STEP_S * number, ids, 4, prefix=[8] * (number % 3), **more)
    desk.ask_at(0.0, [5] * 9, 10, min_tokens=10)
    desk.run()
    for text in (text for text in desk.texts if len(text.ids) < 9):
        (sequence,) = text.generated.sequences
        for name in names:
            np.testing.assert_allclose(sequence.attention[name], expected_maps(text, family, name), rtol=1e-6)
        told = [increment.attention[name].shape[2] for increment in text.increments]
        assert sum(told) == (len(sequence.ids) if text.increments else 0)


def test_attention_of_beams_is_that_of_the_beams_they_came_through(open_desk):
    desk = open_desk(kind="shared", encodes=True)
    desk.ask_at(0.0, [5, 6, 7], 5, num_beams=3, attention=("look_own", "look_source"), prefix=[4])
    desk.run()
    (text,) = desk.texts
    for name in ("look_own", "look_source"):
        expected = expected_maps(text, {"encodes": True}, name)
        np.testing.assert_allclose(text.generated.sequences[0].attention[name], expected, rtol=1e-6)


def log_probabilities(text, encodes=True):
    """Of each token that was written, by hand."""
    fed = [START, *([] if encodes else text.ids), *text.prefix]
    found = []
    for place, token in enumerate(text.written):
        scores = scores_of(number_of((*fed, *text.written[:place]), text.ids if encodes else ())).astype(np.float64)
        found.append(float(scores[token] - np.log(np.exp(scores).sum())))
    return found


@pytest.mark.parametrize("streamed", [False, True])
def test_log_probabilities_and_the_likeliest_tokens_come_where_asked_for(open_desk, streamed):
    desk = open_desk()
    desk.ask_at(0.0, [5, 6], 6, logprobs=True, top_logprobs=3, min_tokens=6, streamed=streamed)
    desk.ask_at(0.0, [7, 6], 6, logprobs=True, min_tokens=6, streamed=streamed)
    desk.ask_at(0.0, [8, 6], 6, min_tokens=6, streamed=streamed)
    desk.run()
    for text in desk.texts:
        (sequence,) = text.generated.sequences
        assert sequence.score == pytest.approx(sum(log_probabilities(text)), rel=1e-5)
    with_top, with_own, without = (text.generated.sequences[0] for text in desk.texts)
    assert with_top.logprobs == pytest.approx(log_probabilities(desk.texts[0]), rel=1e-5)
    assert [len(top) for top in with_top.top] == [3] * 6
    assert [len(with_own.logprobs), len(with_own.top), len(without.logprobs)] == [6, 0, 0]
    if streamed:
        increments = desk.texts[0].increments
        assert tuple(each for one in increments for each in one.logprobs) == with_top.logprobs
        assert tuple(each for one in increments for each in one.top) == with_top.top


def words(ids):
    return " ".join(f"w{token}" for token in ids)


@pytest.mark.parametrize("streamed", [False, True])
def test_a_stop_string_ends_the_text_before_it(open_desk, streamed):
    desk = open_desk()
    desk.ask_at(0.0, [5, 6], 8, min_tokens=8)
    desk.run()
    whole = desk.texts[0].written
    stop = f"w{whole[3]}"
    first = whole.index(whole[3])
    other = open_desk()
    other.ask_at(0.0, [5, 6], 8, stop=(stop,), streamed=streamed)
    assert other.run() == ["stop"]
    (sequence,) = other.texts[0].generated.sequences
    assert sequence.ids == whole[: first + 1]
    assert sequence.text == words(whole[:first]) + (" " if first else "")
    assert sequence.score == pytest.approx(sum(log_probabilities(other.texts[0])), rel=1e-5)


@pytest.mark.parametrize("streamed", [False, True])
def test_a_stop_string_in_the_last_token_that_may_be_written_ends_the_text(open_desk, streamed):
    desk = open_desk()
    desk.ask_at(0.0, [5, 6], 8, min_tokens=8)
    desk.run()
    whole = desk.texts[0].written
    place = next(place for place, token in enumerate(whole) if place > 1 and whole.index(token) == place)
    other = open_desk()
    other.ask_at(0.0, [5, 6], place + 1, stop=(f"w{whole[place]}",), streamed=streamed)
    assert other.run() == ["stop"]
    assert other.texts[0].generated.sequences[0].text == words(whole[:place]) + " "


def test_a_stop_string_before_min_tokens_stays_in_the_text(open_desk):
    desk = open_desk()
    desk.ask_at(0.0, [5, 6], 8, min_tokens=8)
    desk.run()
    whole = desk.texts[0].written
    other = open_desk()
    other.ask_at(0.0, [5, 6], 8, stop=(f"w{whole[0]}",), min_tokens=8 if whole[0] != whole[-1] else 9)
    other.run()
    assert other.texts[0].written == whole
    assert other.texts[0].generated.sequences[0].text == words(whole)


def test_each_new_token_comes_in_an_increment_of_its_own(open_desk, family):
    desk = open_desk(**family)
    desk.ask_at(0.0, [5, 6], 6, min_tokens=6, streamed=True)
    desk.ask_at(0.0, [7, 6], 9, min_tokens=9)
    desk.run()
    increments = desk.texts[0].increments
    assert [len(increment.ids) for increment in increments] == [1] * 6
    times = [increment.at_s for increment in increments]
    assert times == sorted(set(times))


def test_timing_tells_what_the_text_was_part_of(open_desk):
    desk = open_desk()
    desk.ask_at(0.0, [5, 6], 12, min_tokens=12)
    desk.ask_at(0.0, [7, 6], 2, min_tokens=2)
    desk.ask_at(1.0, [5, 6], 3, min_tokens=3)
    desk.run()
    long, short, alone = (text.generated.timing for text in desk.texts)
    assert (long.steps, short.steps, alone.steps) == (12, 2, 3)
    assert (long.batch_rows, short.batch_rows, alone.batch_rows) == (2, 2, 1)
    assert long.compute_s == pytest.approx(ENCODE_S + 12 * STEP_S)
    assert alone.compute_s == pytest.approx(ENCODE_S + 3 * STEP_S)
    assert (alone.queue_s, alone.first_token_s) == (0.0, pytest.approx(ENCODE_S + STEP_S))


# --- whatever happens -------------------------------------------------------------------------------------------------

asked = st.fixed_dictionaries(
    {
        "at": st.integers(0, 40),
        "ids": st.lists(st.integers(3, 20), min_size=1, max_size=LONGEST_SOURCE),
        "max_tokens": st.integers(1, 12),
        "prefix": st.lists(st.integers(3, 20), max_size=6),
        "streamed": st.booleans(),
        "pace": st.sampled_from([0.0, 0.0, 2.5, 30.0]),
        "gives_up_after": st.one_of(st.none(), st.none(), st.integers(0, 30)),
        "within": st.one_of(st.none(), st.none(), st.integers(1, 40)),
        "num_beams": st.sampled_from([1, 1, 1, 2, 3]),
        "asks_attention": st.booleans(),
        "priority": st.integers(0, 1),
        "min_tokens": st.integers(0, 1),
        "stop": st.booleans(),
    }
)


@settings(max_examples=150)
@given(
    family=st.sampled_from(list(FAMILIES.values())),
    texts=st.lists(asked, min_size=1, max_size=12),
    max_rows=st.integers(3, 8),
    static=st.booleans(),
    turn_s=st.sampled_from([0.0, 0.005]),
)
def test_whatever_happens_each_text_is_as_by_itself(tmp_path_factory, family, texts, max_rows, static, turn_s):
    """`Desk.run` holds each text, the observer's events, the slots and the cores against what must be."""
    directory = tmp_path_factory.mktemp("desk")
    more = {"max_rows": max_rows, "static": static, "turn_s": turn_s, "stream_buffer": 2, "max_pause_s": 0.02}
    with Desk(directory, Adder(*family), **more) as desk:
        names = tuple(output.name for output in desk.writer.manifest.outputs if output.role == "attention")
        for text in texts:
            desk.at(text["at"] * STEP_S / 2, ask, desk, names, text)
        desk.run()


def ask(desk, names, text):
    ms = {name: None if text[name] is None else text[name] * STEP_S for name in ("pace", "gives_up_after", "within")}
    desk.ask(
        text["ids"],
        text["max_tokens"],
        prefix=text["prefix"],
        streamed=text["streamed"],
        attention=names if text["asks_attention"] else (),
        num_beams=text["num_beams"],
        priority=text["priority"],
        min_tokens=text["min_tokens"],
        stop=("w7 ",) if text["stop"] and text["num_beams"] == 1 else (),
        **ms,
    )
