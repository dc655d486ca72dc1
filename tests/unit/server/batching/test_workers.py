import logging
import threading

import pytest

from server.batching.cost import ROUGH, Cost
from server.batching.lane import Lane
from server.batching.queue import RequestQueue
from server.batching.scheduler import Scheduler
from server.batching.variant import BatchLimits, Variant
from server.batching.workers import Job, WorkerThreads
from server.clock import MonotonicClock
from server.errors import InferenceFailed
from server.runtime.budget import CoreBudget
from tests.support.fakes import Ledger
from tests.support.requests import make_request
from tests.support.row_sums import layout_of, run_sums
from tests.support.simulation import KILLS, ThreadDeath


@pytest.fixture
def workers():
    threads = WorkerThreads(2)
    yield threads
    threads.close()


class Done:
    """Waits for so many things to be told."""

    def __init__(self, count):
        self.told = []
        self._all = threading.Semaphore(0)
        self._count = count

    def tell(self, what=None):
        self.told.append(what)
        self._all.release()

    def wait(self):
        for _ in range(self._count):
            assert self._all.acquire(timeout=30)
        return self.told


def raises(error):
    raise error


def never():
    pytest.fail("the thread did not die")


def test_jobs_run_each_once_in_threads_of_their_own(workers):
    done = Done(20)
    for _ in range(20):
        workers.submit(Job(lambda: done.tell(threading.current_thread()), never))
    assert 1 <= len(set(done.wait())) <= 2
    assert threading.current_thread() not in done.told


def test_as_many_jobs_run_at_once_as_there_are_threads(workers):
    """Two meet at the barrier: with one thread, neither would pass."""
    barrier, done = threading.Barrier(2, timeout=30), Done(2)
    for _ in range(2):
        workers.submit(Job(lambda: done.tell(barrier.wait()), never))
    assert sorted(done.wait()) == [0, 1]


@pytest.mark.parametrize("error", [ThreadDeath(), RuntimeError("broke"), SystemExit()])
def test_a_thread_that_dies_is_replaced_and_tells(workers, caplog, error):
    died, done = Done(4), Done(20)
    for _ in range(4):  # more than there are threads
        workers.submit(Job(lambda: raises(error), died.tell))
    died.wait()
    barrier = threading.Barrier(2, timeout=30)
    for _ in range(20):
        workers.submit(Job(lambda: done.tell(barrier.wait()), never))
    done.wait()
    assert [record.levelno for record in caplog.records] == [logging.CRITICAL] * 4


def test_closing_finishes_what_was_handed_in():
    workers, done = WorkerThreads(1), Done(10)
    for _ in range(10):
        workers.submit(Job(done.tell, never))
    workers.close()
    assert len(done.told) == 10


def test_closing_ends_all_threads_even_those_that_replaced_others():
    before = set(threading.enumerate())
    workers, died = WorkerThreads(2), Done(3)
    for _ in range(3):
        workers.submit(Job(lambda: raises(ThreadDeath()), died.tell))
    workers.close()
    died.wait()
    left = [thread for thread in threading.enumerate() if thread not in before]
    for thread in left:
        thread.join(timeout=30)
    assert not any(thread.is_alive() for thread in left)


async def test_the_scheduler_on_real_threads_answers_the_batch_of_one_that_died_and_goes_on(workers):
    def run(inputs, outputs, _stop):
        if (inputs["ids"] == KILLS).any():
            raise ThreadDeath
        return run_sums(inputs, outputs)

    variant = Variant(layout_of("rows"), "fp32", run, frozenset(("echo", "sum")), ("sum",), Cost(ROUGH))
    lane = Lane("m", 1, [variant], BatchLimits(1, 4096), RequestQueue(100))
    ledger = Ledger()
    scheduler = Scheduler(workers, CoreBudget(2), MonotonicClock(), ledger)
    scheduler.add(lane)
    requests = [make_request(4, first=first) for first in (1, KILLS, 10, KILLS, 20)]
    for request in requests:
        scheduler.submit(lane, request)
    for request in requests:
        if request.inputs["ids"][0, 0] == KILLS:
            with pytest.raises(InferenceFailed):
                await request.reply
        else:
            assert (await request.reply).outputs["sum"] == request.inputs["ids"].sum()
    await scheduler.remove(lane)
    assert scheduler.budget.free == 2
    assert [record.failed for record in ledger.batches].count(True) == 2
