"""Callers who go, deadlines, readers who are behind, and versions that are unloaded; neighbours never notice."""

import asyncio

import numpy as np
import pytest

from server.codecs.codec import EncodedRow
from server.errors import ModelNotReady, QueueFull
from server.generation.observer import LeaveReason, RunKind
from tests.support.writing import ENCODE_S, STEP_S

GONE, LATE, SLOW = "CANCELLED", "DEADLINE_EXPIRED", "READER_TOO_SLOW"


# --- cancelling -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["sums", "shared", "copied"])
@pytest.mark.parametrize("after", [0.0, ENCODE_S / 2, ENCODE_S + 0.5 * STEP_S, ENCODE_S + 3.5 * STEP_S])
def test_whoever_goes_frees_the_slot_and_harms_nobody(open_desk, kind, after):
    """While it waits, is encoded, and is stepped; the texts beside it are held against those written alone."""
    desk = open_desk(kind=kind, max_rows=3)
    desk.ask_at(0.0, [5, 6], 8, min_tokens=8)
    desk.ask_at(0.0, [7, 6], 8, gives_up_after=after, min_tokens=8)
    desk.ask_at(0.0, [8, 6], 8, min_tokens=8)
    desk.ask_at(0.0, [9, 6], 8, min_tokens=8)
    assert desk.run() == ["length", GONE, "length", "length"]


def test_whoever_goes_during_a_turn_of_several_steps_ends_it(open_desk):
    desk = open_desk(turn_s=1.0)
    desk.ask_at(0.0, [5, 6], 20, min_tokens=20)
    desk.ask_at(0.0, [7, 6], 20, min_tokens=20)

    def leave(kind):
        if sum(kind == "step" for kind, _, _ in desk.adder.ran) == 4:
            desk.texts[0].generation.cancel()

    desk.adder.during = leave
    assert desk.run() == [GONE, "length"]
    assert desk.ledger.rows_of(RunKind.STEP) == [2] * 4 + [1] * 16
    assert desk.ledger.saved[0] == (LeaveReason.CANCELLED, 16)


def test_whoever_goes_while_a_prompt_is_read_by_parts_frees_the_slot(open_desk):
    desk = open_desk(kind="shared", encodes=False, max_new=2)
    desk.ask_at(0.0, [5, 6, 7, 8, 9, 10], 4, gives_up_after=1.5 * STEP_S)
    desk.ask_at(0.0, [5, 6, 7, 8, 9, 10], 4)
    desk.run()
    assert desk.texts[0].fate == GONE


def test_whoever_goes_while_the_source_is_encoded_does_not_join(open_desk):
    desk = open_desk()
    desk.ask_at(0.0, [5, 6], 4)
    desk.ask_at(0.0, [7, 6], 4)
    desk.adder.during = lambda kind: desk.texts[0].generation.cancel() if kind == "encode" else None
    desk.run()
    assert desk.texts[0].fate == GONE
    assert desk.ledger.rows_of(RunKind.STEP)[0] == 1
    assert len(desk.ledger.queue_s) == 1


def test_whoever_goes_when_the_source_has_been_encoded_leaves_at_once(open_desk):
    """The run has let it join already, when the caller goes before the event loop hears of that."""
    desk = open_desk()
    desk.ask_at(0.0, [5, 6], 4, gives_up_after=ENCODE_S / 2)
    desk.run()
    assert (len(desk.ledger.queue_s), desk.ledger.reasons) == (1, [LeaveReason.CANCELLED])


def test_cancelling_twice_and_after_the_end_does_nothing(open_desk):
    desk = open_desk()
    desk.ask_at(0.0, [5, 6], 4)
    desk.ask_at(0.0, [7, 6], 40, min_tokens=40)
    desk.at(0.01, lambda: [text.generation.cancel() for text in desk.texts])
    desk.at(0.02, lambda: [text.generation.cancel() for text in desk.texts])
    desk.run()
    assert desk.texts[1].fate == GONE


def test_a_caller_who_is_cancelled_while_waiting_gives_the_text_up(open_desk):
    desk = open_desk()
    desk.ask_at(0.0, [5, 6], 40, min_tokens=40)
    cancelled = []

    async def wait_in_vain():
        waiting = asyncio.ensure_future(desk.texts[0].generation.result())
        await asyncio.sleep(0.005)
        waiting.cancel()
        cancelled.append((await asyncio.gather(waiting, return_exceptions=True))[0])

    desk.at(0.001, lambda: desk.machine.loop.create_task(wait_in_vain()))
    assert desk.run() == [GONE]
    assert isinstance(cancelled[0], asyncio.CancelledError)


def test_a_reader_that_stops_reading_gives_the_text_up(open_desk):
    desk = open_desk()
    desk.ask_at(0.0, [5, 6], 40, min_tokens=40)

    async def read_one():
        generation = desk.writer.begin(
            EncodedRow({"ids": np.array([[9]])}), desk.texts[0].decoding, request_id="r", streamed=True
        )
        increments = aiter(generation)
        await anext(increments)
        await increments.aclose()

    desk.at(0.001, lambda: desk.machine.loop.create_task(read_one()))
    desk.machine.run()
    assert desk.ledger.reasons == [LeaveReason.CANCELLED, LeaveReason.LENGTH]


# --- deadlines --------------------------------------------------------------------------------------------------------


def test_a_deadline_that_passes_in_the_queue_ends_the_text_there(open_desk):
    desk = open_desk(max_rows=1)
    desk.ask_at(0.0, [5, 6], 20, min_tokens=20)
    desk.ask_at(0.0, [7, 6], 4, within=0.01)
    assert desk.run() == ["length", LATE]
    assert len(desk.ledger.queue_s) == 1
    assert desk.texts[1].ended_at == pytest.approx(0.01)


def test_a_deadline_that_passes_while_the_text_is_written_ends_it(open_desk):
    desk = open_desk(turn_s=0)
    desk.ask_at(0.0, [5, 6], 30, min_tokens=30, within=ENCODE_S + 10.5 * STEP_S)
    desk.ask_at(0.0, [7, 6], 20, min_tokens=20)
    assert desk.run() == [LATE, "length"]
    assert desk.ledger.rows_of(RunKind.STEP) == [2] * 11 + [1] * 9
    assert desk.ledger.saved[0] == (LeaveReason.EXPIRED, 19)


def test_a_deadline_that_nobody_could_keep_refuses_at_once(open_desk):
    desk = open_desk()
    desk.ask_at(0.0, [5, 6], 4, within=ENCODE_S / 2)
    assert desk.run() == ["DEADLINE_UNREACHABLE"]
    assert float(desk.texts[0].error.metadata["retry_after_s"]) > 0
    assert not desk.adder.ran


def test_a_deadline_counts_those_who_wait_for_slots_before(open_desk):
    desk = open_desk(max_rows=1)
    for number in range(30):  # so that the lane knows how long its texts take
        desk.ask_at(0.1 * number, [5, 6], 20, min_tokens=20)
    for _ in range(3):
        desk.ask_at(10.0, [5, 6], 20, min_tokens=20)
    desk.ask_at(10.001, [5, 6], 20, within=0.03)
    desk.run()
    assert desk.texts[-1].fate == "DEADLINE_UNREACHABLE"


def test_a_deadline_that_has_passed_refuses_before_anything(open_desk):
    desk = open_desk()
    desk.ask_at(1.0, [5, 6], 4, within=-0.5)
    assert desk.run() == [LATE]
    assert not desk.ledger.reasons


# --- a full queue -----------------------------------------------------------------------------------------------------


def test_a_full_queue_refuses_without_waiting(open_desk):
    desk = open_desk(max_rows=1, max_waiting=2)
    for _ in range(4):
        desk.ask_at(0.0, [5, 6], 4, min_tokens=4)
    desk.ask_at(ENCODE_S / 2, [5, 6], 4, min_tokens=4)
    desk.ask_at(ENCODE_S / 2, [5, 6], 4, min_tokens=4)
    fates = desk.run()
    assert fates.count("QUEUE_FULL") == 3
    assert isinstance(next(text.error for text in desk.texts if text.error), QueueFull)
    assert {text.ended_at for text in desk.texts if text.error} == {0.0, ENCODE_S / 2}


def test_those_whose_deadline_has_passed_make_room_in_a_full_queue(open_desk):
    desk = open_desk(max_rows=1, max_waiting=1)
    desk.ask_at(0.0, [5, 6], 20, min_tokens=20)
    desk.ask_at(0.001, [5, 6], 20, min_tokens=20, within=0.01)
    desk.ask_at(0.0111, [7, 6], 4, min_tokens=4)
    assert desk.run() == ["length", LATE, "length"]


# --- readers ----------------------------------------------------------------------------------------------------------

SLOW_READERS = {"stream_buffer": 4, "max_pause_s": 0.05}


def test_a_reader_that_is_behind_pauses_its_text_until_it_has_caught_up(open_desk):
    desk = open_desk(**SLOW_READERS)
    desk.ask_at(0.0, [5, 6], 20, min_tokens=20, streamed=True, pace=4 * STEP_S)
    desk.ask_at(0.0, [7, 6], 20, min_tokens=20)
    assert desk.run() == ["length", "length"]
    assert desk.ledger.pauses == desk.ledger.resumes >= 3
    slow, quick = desk.texts
    assert quick.ended_at < slow.ended_at
    assert len(slow.increments) == 20


@pytest.mark.parametrize("kind", ["sums", "shared", "copied"])
def test_a_paused_text_keeps_its_states(open_desk, kind):
    """What a step computes for a row that rests must not be seen when it goes on."""
    desk = open_desk(kind=kind, **SLOW_READERS)
    desk.ask_at(0.0, [5, 6], 20, min_tokens=20, streamed=True, pace=12 * STEP_S)
    for number in range(20):
        desk.ask_at(4 * STEP_S * number, [3 + number % 7], 9, min_tokens=9, streamed=number % 3 == 0)
    assert set(desk.run()) == {"length"}
    assert desk.ledger.pauses > 3


def test_no_more_increments_wait_than_the_buffer_holds_and_one(open_desk):
    desk = open_desk(**SLOW_READERS)
    desk.ask_at(0.0, [5, 6], 30, min_tokens=30, streamed=True, pace=3 * STEP_S)
    unread = []
    desk.adder.during = lambda _: unread.append(len(desk.texts[0].generation._request.reader._unread))
    desk.run()
    assert max(unread) <= 5


def test_a_reader_that_reads_nothing_for_too_long_loses_its_text_and_nobody_else_does(open_desk):
    desk = open_desk(**SLOW_READERS)
    desk.ask_at(0.0, [5, 6], 30, min_tokens=30, streamed=True, reads=2)
    desk.ask_at(0.0, [7, 6], 30, min_tokens=30)
    desk.ask_at(0.0, [8, 6], 30, min_tokens=30, streamed=True)
    assert desk.run() == [SLOW, "length", "length"]
    slow = desk.texts[0]
    assert slow.ended_at == pytest.approx(ENCODE_S + 7 * STEP_S + 0.05, abs=2 * STEP_S)
    assert [len(increment.ids) for increment in slow.increments] == [1, 1]
    assert (desk.ledger.pauses, desk.ledger.resumes) == (1, 0)


def test_a_reader_that_reads_nothing_holds_up_nobody_while_it_is_paused(open_desk):
    desk = open_desk(**SLOW_READERS)
    desk.ask_at(0.0, [5, 6], 30, min_tokens=30, streamed=True, reads=0)
    desk.ask_at(0.0, [7, 6], 30, min_tokens=30)
    desk.run()
    assert desk.texts[1].ended_at == pytest.approx(ENCODE_S + 30 * STEP_S)


def test_a_text_that_ends_while_its_reader_is_behind_is_read_to_its_end(open_desk):
    desk = open_desk(**SLOW_READERS)
    desk.ask_at(0.0, [5, 6], 5, min_tokens=5, streamed=True, pace=1.0)
    assert desk.run() == ["length"]
    assert len(desk.texts[0].increments) == 5


def test_a_paused_text_may_be_given_up(open_desk):
    desk = open_desk(**SLOW_READERS)
    desk.ask_at(0.0, [5, 6], 30, min_tokens=30, streamed=True, reads=1, gives_up_after=0.03)
    assert desk.run() == [GONE]


# --- unloading --------------------------------------------------------------------------------------------------------


def test_a_version_that_is_unloaded_ends_its_texts_first_and_takes_no_more(open_desk):
    desk = open_desk(max_rows=2)
    closed = []

    async def close():
        await desk.writer.close()
        closed.append(desk.machine.clock.machine)

    for _ in range(4):
        desk.ask_at(0.0, [5, 6], 10, min_tokens=10)
    desk.at(ENCODE_S + 4 * STEP_S, lambda: desk.machine.loop.create_task(close()))
    desk.ask_at(0.01, [7], 4)
    assert desk.run().count("length") == 4
    refused = next(text for text in desk.texts if text.error)
    assert isinstance(refused.error, ModelNotReady)
    assert closed == [max(text.ended_at for text in desk.texts)]


def test_an_idle_version_closes_at_once(open_desk):
    desk = open_desk()
    closed = []

    async def close():
        await desk.writer.close()
        closed.append(desk.machine.clock.machine)

    desk.at(0.0, lambda: desk.machine.loop.create_task(close()))
    desk.run()
    assert closed == [0.0]


@pytest.mark.parametrize("how", [{"within": 0.0121}, {"gives_up_after": 0.0121}])
def test_a_version_is_closed_when_the_last_who_waits_goes(open_desk, how):
    desk = open_desk(max_rows=1)
    closed = []

    async def close():
        await desk.writer.close()
        closed.append(desk.machine.clock.machine)

    desk.ask_at(0.0, [5, 6], 10, min_tokens=10)
    desk.ask_at(0.0, [5, 6], 10, min_tokens=10, **how)
    desk.at(0.001, lambda: desk.machine.loop.create_task(close()))
    desk.run()
    assert closed


def test_a_version_is_closed_where_the_lane_itself_finds_the_last_deadline_passed(open_desk):
    """The event loop may come to the next run before it comes to the timer of the deadline."""
    desk = open_desk(max_rows=1)
    closed = []

    async def close():
        await desk.writer.close()
        closed.append(True)

    desk.ask_at(0.0, [5, 6], 10, min_tokens=10)
    desk.ask_at(0.0, [5, 6], 10, min_tokens=10, within=0.05)
    desk.at(0.001, lambda: desk.machine.loop.create_task(close()))

    def be_late(kind):
        if sum(kind == "step" for kind, _, _ in desk.adder.ran) == 10:
            desk.machine.compute(0.2)

    desk.adder.during = be_late
    assert desk.run() == ["length", LATE]
    assert closed


def test_a_version_whose_reader_is_behind_is_closed_once_that_has_been_given_up(open_desk):
    desk = open_desk(**SLOW_READERS)
    closed = []

    async def close():
        await desk.writer.close()
        closed.append(desk.machine.clock.machine)

    desk.ask_at(0.0, [5, 6], 30, min_tokens=30, streamed=True, reads=0)
    desk.at(0.001, lambda: desk.machine.loop.create_task(close()))
    assert desk.run() == [SLOW]
    assert closed == [desk.texts[0].ended_at]
