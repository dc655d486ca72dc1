"""What goes wrong in a run: only whoever is guilty fails, and what cannot be known harms nobody who comes later."""

import logging

import pytest

from server.errors import InferenceFailed
from server.generation.observer import LeaveReason, RunKind
from tests.support.adder import BREAKS, KILLS, NAN
from tests.support.writing import ENCODE_S, STEP_S

FAILED = "INFERENCE_FAILED"
KINDS = pytest.mark.parametrize("kind", ["sums", "shared", "copied"])


def crowd(desk, **more):
    """Three texts at once, the second of which has `more`."""
    for number in range(3):
        desk.ask_at(0.0, [5 + number, 6], 8, **(more if number == 1 else {}), min_tokens=8)


# --- steps ------------------------------------------------------------------------------------------------------------


@KINDS
def test_only_the_guilty_text_of_a_step_fails(open_desk, kind, caplog):
    desk = open_desk(kind=kind)
    crowd(desk, prefix=[7, BREAKS, 7])
    assert desk.run() == ["length", FAILED, "length"]
    rows = [rows for kind, rows, _ in desk.adder.ran if kind == "step"]
    assert rows == [3, 3, 3, 1, 1, 1] + [2] * 5
    assert [record.failed for record in desk.ledger.records if record.kind is RunKind.STEP] == [False] * 2 + [True] + [
        False
    ] * 5
    assert "broke" not in desk.texts[1].error.message
    assert any("broke" in str(record.exc_info) for record in caplog.records if record.levelno == logging.ERROR)


@KINDS
def test_a_step_that_fails_for_no_row_harms_nobody(open_desk, kind):
    desk = open_desk(kind=kind)
    desk.adder.lies = True
    for number in range(3):
        desk.ask_at(0.01 * number, [5 + number, 6], 8, min_tokens=8)
        desk.ask_at(0.01 * number, [6, 6], 8, min_tokens=8, prefix=[9, 9])
    assert set(desk.run()) == {"length"}


def test_whoever_wants_attention_gets_it_in_a_step_that_fails_for_another(open_desk):
    desk = open_desk(kind="shared")
    desk.ask_at(0.0, [5, 6], 6, attention=("look_own", "look_source"), min_tokens=6)
    desk.ask_at(0.0, [7, 6], 6, prefix=[BREAKS])
    desk.ask_at(0.0, [7, 6, 5], 6, min_tokens=6)
    alone = open_desk(kind="shared")
    alone.ask_at(0.0, [5, 6], 6, attention=("look_own", "look_source"), min_tokens=6)
    alone.run()
    assert desk.run() == ["length", FAILED, "length"]
    found, expected = (one.texts[0].generated.sequences[0].attention for one in (desk, alone))
    assert {name: weights.tolist() for name, weights in found.items()} == {
        name: weights.tolist() for name, weights in expected.items()
    }


@KINDS
def test_beams_beside_a_text_that_fails_go_on(open_desk, kind):
    desk = open_desk(kind=kind)
    desk.ask_at(0.0, [5, 6], 6, num_beams=3, num_sequences=3)
    desk.ask_at(0.0, [7, 6], 6, prefix=[7, BREAKS])
    alone = open_desk(kind=kind)
    alone.ask_at(0.0, [5, 6], 6, num_beams=3, num_sequences=3)
    alone.run()
    desk.run()
    assert desk.texts[1].fate == FAILED
    found, expected = (one.texts[0].generated.sequences for one in (desk, alone))
    assert [(one.ids, one.score) for one in found] == [(one.ids, one.score) for one in expected]


def test_beams_that_fail_leave_with_all_their_rows(open_desk):
    desk = open_desk()
    desk.ask_at(0.0, [5, 6], 6, num_beams=3, prefix=[7, BREAKS])
    desk.ask_at(0.0, [7, 6], 6, min_tokens=6)
    assert desk.run() == [FAILED, "length"]


@KINDS
@pytest.mark.parametrize("beams", [1, 3])
def test_scores_that_are_no_numbers_end_their_own_text_alone(open_desk, kind, beams):
    desk = open_desk(kind=kind)
    crowd(desk, prefix=[7, NAN], num_beams=beams)
    assert desk.run() == ["length", FAILED, "length"]


def test_scores_that_are_no_numbers_at_the_last_token_are_a_failure_too(open_desk):
    desk = open_desk()
    desk.ask_at(0.0, [5, 6], 1, prefix=[NAN])
    assert desk.run() == [FAILED]


# --- reading ----------------------------------------------------------------------------------------------------------


def test_a_source_that_cannot_be_encoded_fails_alone(open_desk):
    desk = open_desk()
    for ids in ([5, 6], [7, BREAKS], [8]):
        desk.ask_at(0.0, ids, 8, min_tokens=8)
    assert desk.run() == ["length", FAILED, "length"]
    assert [rows for kind, rows, _ in desk.adder.ran if kind == "encode"] == [3, 1, 1, 1]
    assert len(desk.ledger.queue_s) == 2


def test_whoever_goes_while_their_source_fails_is_counted_once(open_desk):
    desk = open_desk()
    desk.ask_at(0.0, [5, BREAKS], 8)
    desk.adder.during = lambda _: desk.texts[0].generation.cancel()
    desk.run()
    assert desk.ledger.reasons == [LeaveReason.CANCELLED]


def test_whoever_goes_when_their_source_has_failed_is_counted_once(open_desk):
    desk = open_desk()
    desk.ask_at(0.0, [5, BREAKS], 8, gives_up_after=ENCODE_S / 2)
    desk.run()
    assert desk.ledger.reasons == [LeaveReason.CANCELLED]


def test_a_prompt_that_cannot_be_read_fails_alone(open_desk):
    desk = open_desk(kind="shared", encodes=False, max_new=4)
    desk.ask_at(0.0, [5, 6, 7], 8, min_tokens=8)
    desk.ask_at(0.0, [5, 6, 7, 8, 9, BREAKS, 9], 8)
    desk.ask_at(0.0, [5, 6, 7], 8, min_tokens=8)
    assert desk.run() == ["length", FAILED, "length"]


@KINDS
def test_a_source_whose_states_do_not_fit_the_manifest_fails_alone(open_desk, kind):
    """Where the graph's own shapes are symbols, loading cannot tell."""
    desk = open_desk(kind=kind)
    encode = desk.adder.encode
    wrong = {"source": 0}

    def lie(inputs, outputs):
        found = encode(inputs, outputs)
        wrong["source"] += 1
        return {name: array.astype("float32") for name, array in found.items()} if wrong["source"] == 2 else found

    desk.lane._encoder._run = lie
    for number in range(3):
        desk.ask_at(0.05 * number, [5, 6], 20, min_tokens=20)
    assert desk.run() == ["length", FAILED, "length"]


def test_a_text_without_a_source_that_cannot_join_is_told(open_desk):
    desk = open_desk(encodes=False)
    join = desk.lane._batch.slots.join
    calls = []

    def refuse_second(*arguments, **named):
        calls.append(arguments)
        if len(calls) == 2:
            raise MemoryError("no more")
        return join(*arguments, **named)

    desk.lane._batch.slots.join = refuse_second
    for number in range(3):
        desk.ask_at(0.01 * number, [5, 6], 20, min_tokens=20)
    assert desk.run() == ["length", FAILED, "length"]


# --- whole runs -------------------------------------------------------------------------------------------------------


@KINDS
def test_a_thread_that_dies_takes_those_who_are_live_and_nobody_who_comes_later(open_desk, kind):
    desk = open_desk(kind=kind)
    crowd(desk, prefix=[7, KILLS])
    desk.ask_at(1.0, [5, 6], 8, min_tokens=8)
    assert desk.run() == [FAILED] * 3 + ["length"]
    assert isinstance(desk.texts[0].error, InferenceFailed)


def test_a_thread_that_dies_while_it_encodes_takes_those_who_are_live_too(open_desk):
    desk = open_desk(turn_s=0)
    desk.ask_at(0.0, [5, 6], 30, min_tokens=30)
    desk.ask_at(ENCODE_S + STEP_S, [5, KILLS], 8)
    desk.ask_at(ENCODE_S + STEP_S, [6, 6], 8)
    desk.ask_at(1.0, [5, 6], 8, min_tokens=8)
    assert desk.run() == [FAILED] * 3 + ["length"]


def test_those_who_wait_when_a_thread_dies_are_served(open_desk):
    desk = open_desk(max_rows=1)
    desk.ask_at(0.0, [5, 6], 8, prefix=[KILLS])
    desk.ask_at(0.0, [5, 6], 8, min_tokens=8)
    assert desk.run() == [FAILED, "length"]


def test_a_version_is_closed_after_its_thread_has_died(open_desk):
    desk = open_desk()
    desk.ask_at(0.0, [5, 6], 8, prefix=[KILLS])
    closed = []

    async def close():
        await desk.writer.close()
        closed.append(True)

    desk.at(0.001, lambda: desk.machine.loop.create_task(close()))
    assert desk.run() == [FAILED]
    assert closed


# --- text -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("more", [{"streamed": True}, {"stop": ("w4 w4",)}, {"streamed": True, "stop": ("w4 w4",)}, {}])
def test_a_text_that_cannot_be_decoded_fails_alone(open_desk, more, caplog):
    desk = open_desk()
    detokenizer = desk.lane._delivery._detokenizer
    streams, texts, seen = detokenizer.stream, detokenizer.text, []

    def stream(stops, prefix):
        found = streams(stops, prefix)
        if prefix[-1] == 9:
            push = found.push

            def fail_later(token, **options):
                seen.append(token)
                if len(seen) == 3:
                    raise ValueError("no such text")
                return push(token, **options)

            found.push = fail_later
        return found

    def text(ids, prefix):
        if prefix[-1] == 9:
            raise ValueError("no such text")
        return texts(ids, prefix)

    detokenizer.stream, detokenizer.text = stream, text
    desk.ask_at(0.0, [5, 6], 8, min_tokens=8, streamed=True)
    desk.ask_at(0.0, [7, 6], 8, min_tokens=8, prefix=[9], **more)
    desk.ask_at(0.0, [8, 6], 8, min_tokens=8)
    assert desk.run() == ["length", FAILED, "length"]
