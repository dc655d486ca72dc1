import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from server.batching.lane import Lane
from server.batching.observer import BatchRecord
from server.batching.policy import BatchLimits
from server.batching.queue import RequestQueue
from server.batching.scheduler import Scheduler
from server.clock import ManualClock
from server.errors import DeadlineExpired, InferenceFailed, ModelNotReady, QueueFull, RequestCancelled
from tests.support.requests import ECHO, IDS, MASK, SUM, make_request


class Recorder:
    """Keeps what batching tells."""

    def __init__(self) -> None:
        self.batches: list[BatchRecord] = []
        self.dropped: list[str] = []

    def batch_ran(self, record: BatchRecord) -> None:
        self.batches.append(record)

    def request_dropped(self, model: str, version: int, reason: str) -> None:
        self.dropped.append(reason)


class Gate:
    """A run that waits until it is opened, and fails on the id 666."""

    def __init__(self, *, opened: bool = True) -> None:
        self.open = threading.Event()
        self.order: list[int] = []
        self.at_once = 0
        self.most_at_once = 0
        self._lock = threading.Lock()
        if opened:
            self.open.set()

    def __call__(self, inputs, outputs):
        with self._lock:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            self.order.append(int(inputs["ids"][0, 0]))
        self.open.wait()
        with self._lock:
            self.at_once -= 1
        if (inputs["ids"] == 666).any():
            raise RuntimeError("the graph broke")
        return {"echo": inputs["ids"], "sum": (inputs["ids"] * inputs["mask"]).sum(axis=1, keepdims=True)}


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


def lane(run, *, model: str = "m", capacity: int = 100, max_rows: int = 8) -> Lane:
    return Lane(
        model=model,
        version=1,
        run=run,
        inputs=[IDS, MASK],
        outputs={"echo": ECHO, "sum": SUM},
        limits=BatchLimits(max_rows, 10_000, 0.5),
        queue=RequestQueue(capacity),
    )


def serve(executor, recorder, *lanes, slots=1, clock=None):
    scheduler = Scheduler(executor, slots, clock or ManualClock(), recorder)
    for each in lanes:
        scheduler.add(each)
    return scheduler


async def settle():
    """Lets callbacks that are ready run."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_requests_that_wait_run_together_and_each_gets_its_own(executor, recorder):
    gate = Gate(opened=False)
    only = lane(gate)
    scheduler = serve(executor, recorder, only)
    requests = [make_request(5, first=1 + 100 * i) for i in range(4)]
    for request in requests:
        scheduler.submit(only, request)
    gate.open.set()
    answers = await asyncio.gather(*(request.reply for request in requests))
    for request, answer in zip(requests, answers, strict=True):
        assert np.array_equal(answer.outputs["echo"], request.inputs["ids"])
    assert [record.requests for record in recorder.batches] == [1, 3]
    assert answers[1].timing.batch_rows == 3


async def test_never_more_runs_at_once_than_slots(executor, recorder):
    gate = Gate()
    only = lane(gate, max_rows=1)
    scheduler = serve(executor, recorder, only, slots=2)
    requests = [make_request(2) for _ in range(50)]
    for request in requests:
        scheduler.submit(only, request)
    await asyncio.gather(*(request.reply for request in requests))
    assert gate.most_at_once <= 2
    assert sum(record.requests for record in recorder.batches) == 50


async def test_lanes_are_served_in_turn_so_that_a_flood_starves_nobody(executor, recorder):
    gate = Gate(opened=False)
    flooded, quiet = lane(gate, model="flooded", max_rows=1), lane(gate, model="quiet")
    scheduler = serve(executor, recorder, flooded, quiet)
    flood = [make_request(1, first=1) for _ in range(20)]
    for request in flood:
        scheduler.submit(flooded, request)
    single = make_request(1, first=2)
    scheduler.submit(quiet, single)
    gate.open.set()
    await asyncio.gather(single.reply, *(request.reply for request in flood))
    assert gate.order.index(2) <= 1


async def test_only_the_guilty_request_of_a_batch_fails(executor, recorder):
    gate = Gate(opened=False)
    only = lane(gate)
    scheduler = serve(executor, recorder, only)
    blocker = make_request(1, first=5)
    requests = [make_request(1, first=first) for first in (7, 666, 8)]
    for request in (blocker, *requests):
        scheduler.submit(only, request)
    gate.open.set()
    results = await asyncio.gather(*(request.reply for request in requests), return_exceptions=True)
    assert isinstance(results[1], InferenceFailed)
    assert "broke" not in results[1].message
    assert results[0].outputs["sum"].tolist() == [[7]]
    assert results[2].outputs["sum"].tolist() == [[8]]
    assert [record.failed for record in recorder.batches] == [False, True]


async def test_full_queue_refuses_and_tells_the_observer(executor, recorder):
    gate = Gate(opened=False)
    only = lane(gate, capacity=1)
    scheduler = serve(executor, recorder, only)
    running, waiting = make_request(1), make_request(1)
    scheduler.submit(only, running)
    scheduler.submit(only, waiting)
    with pytest.raises(QueueFull):
        scheduler.submit(only, make_request(1))
    assert recorder.dropped == ["QUEUE_FULL"]
    gate.open.set()
    await asyncio.gather(running.reply, waiting.reply)


async def test_a_full_queue_of_expired_requests_makes_room(executor, recorder):
    gate, clock = Gate(opened=False), ManualClock()
    only = lane(gate, capacity=1)
    scheduler = serve(executor, recorder, only, clock=clock)
    running, late, fresh = make_request(1), make_request(1, deadline=1.0), make_request(1)
    scheduler.submit(only, running)
    scheduler.submit(only, late)
    clock.advance(2.0)
    scheduler.submit(only, fresh)
    gate.open.set()
    await asyncio.gather(running.reply, fresh.reply)
    assert isinstance(late.reply.exception(), DeadlineExpired)
    assert recorder.dropped == ["DEADLINE_EXPIRED"]


async def test_a_withdrawn_request_never_runs_and_its_neighbours_do(executor, recorder):
    gate = Gate(opened=False)
    only = lane(gate, max_rows=1)
    scheduler = serve(executor, recorder, only)
    first, second, third = (make_request(1, first=first) for first in (1, 2, 3))
    for request in (first, second, third):
        scheduler.submit(only, request)
    scheduler.withdraw(only, second, RequestCancelled("gone"))
    gate.open.set()
    await asyncio.gather(first.reply, third.reply)
    assert gate.order == [1, 3]
    assert second.reply.cancelled()
    assert recorder.dropped == ["CANCELLED"]


async def test_a_lane_is_removed_once_all_is_answered(executor, recorder):
    gate = Gate(opened=False)
    only = lane(gate, max_rows=1)
    scheduler = serve(executor, recorder, only)
    requests = [make_request(1) for _ in range(3)]
    for request in requests:
        scheduler.submit(only, request)
    removal = asyncio.ensure_future(scheduler.remove(only))
    await settle()
    assert not removal.done()
    gate.open.set()
    await removal
    assert all(request.reply.done() for request in requests)
    with pytest.raises(ModelNotReady):
        scheduler.submit(only, make_request(1))


async def test_an_idle_lane_is_removed_at_once(executor, recorder):
    only = lane(Gate())
    scheduler = serve(executor, recorder, only)
    await scheduler.remove(only)
    with pytest.raises(ModelNotReady):
        scheduler.submit(only, make_request(1))


async def test_a_lane_whose_last_waiting_request_is_withdrawn_can_be_removed(executor, recorder):
    gate = Gate(opened=False)
    blocking, only = lane(gate, model="blocking"), lane(gate)
    scheduler = serve(executor, recorder, blocking, only)
    blocker, waiting = make_request(1), make_request(1)
    scheduler.submit(blocking, blocker)
    scheduler.submit(only, waiting)
    removal = asyncio.ensure_future(scheduler.remove(only))
    await settle()
    scheduler.withdraw(only, waiting, RequestCancelled("gone"))
    await removal
    assert blocker.reply.done() is False
    with pytest.raises(ModelNotReady):
        scheduler.submit(only, make_request(1))
    gate.open.set()
    await blocker.reply


async def test_a_request_that_comes_between_the_last_answer_and_the_removal_is_answered(executor, recorder):
    """The handler of a straggler may run in the very turn of the loop in which the lane came to rest."""
    first_gate, other_gate = Gate(opened=False), Gate(opened=False)
    only, other = lane(first_gate), lane(other_gate, model="other")
    scheduler = serve(executor, recorder, only, other)
    last, blocker, straggler = make_request(1), make_request(1), make_request(1)
    scheduler.submit(only, last)
    scheduler.submit(other, blocker)
    last.reply.add_done_callback(lambda _: scheduler.submit(only, straggler))
    removal = asyncio.ensure_future(scheduler.remove(only))
    await settle()
    first_gate.open.set()
    await last.reply
    await settle()
    other_gate.open.set()
    await asyncio.wait_for(asyncio.gather(straggler.reply, removal), 10)
    assert np.array_equal(straggler.reply.result().outputs["echo"], straggler.inputs["ids"])


async def test_a_request_whose_caller_goes_is_counted_once_even_if_the_queue_finds_it_dead_first(executor, recorder):
    gate = Gate(opened=False)
    only = lane(gate, capacity=1)
    scheduler = serve(executor, recorder, only)
    running, leaving, fresh = make_request(1), make_request(1), make_request(1)
    scheduler.submit(only, running)
    scheduler.submit(only, leaving)
    leaving.reply.cancel()  # as the cancellation of the task that awaits it does, before that task runs again
    scheduler.submit(only, fresh)
    scheduler.withdraw(only, leaving, RequestCancelled("gone"))
    assert recorder.dropped == ["CANCELLED"]
    gate.open.set()
    await asyncio.gather(running.reply, fresh.reply)


def test_without_slots_nothing_could_run(executor, recorder):
    with pytest.raises(ValueError, match="at least one"):
        Scheduler(executor, 0, ManualClock(), recorder)
