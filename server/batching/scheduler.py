"""Gives free cores the next batch: lanes in turn, no waiting for company, one bound on runs for the whole process.

Everything but the run itself happens on the event loop's thread, so that no state here needs a lock. A batch that
fails as a whole is run again one request at a time, so that only the guilty one fails.
"""

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from functools import partial

from server.batching.collate import collate, split
from server.batching.lane import Lane, tokens_of
from server.batching.observer import BatchingObserver, BatchRecord
from server.batching.policy import choose
from server.batching.request import Answer, Request, RunTiming
from server.clock import Clock
from server.errors import DeadlineExpired, InferenceFailed, ModelNotReady, ServeError
from server.tensors import Array

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class _Outcome:
    """What came out of one run, in the worker thread: each request's outputs or error, and the phases' seconds."""

    results: Sequence[dict[str, Array] | ServeError]
    collate_s: float
    compute_s: float
    split_s: float
    failed: bool


class Scheduler:
    """Runs the lanes' requests on at most `slots` threads of `executor`."""

    def __init__(self, executor: Executor, slots: int, clock: Clock, observer: BatchingObserver) -> None:
        if slots < 1:
            raise ValueError(f"{slots} slots; at least one run must be possible")
        self._executor = executor
        self._free = slots
        self._clock = clock
        self._observer = observer
        self._lanes: dict[Lane, None] = {}
        """In the order of service: the lane served last stands last."""

    def add(self, lane: Lane) -> None:
        """Starts serving a lane."""
        self._lanes[lane] = None

    async def remove(self, lane: Lane) -> None:
        """Stops serving a lane once all that it has taken is answered."""
        while lane.busy:  # again and again: a request may come between the last answer and this task's turn
            lane.idle = asyncio.Event()
            await lane.idle.wait()
        self._lanes.pop(lane, None)

    def submit(self, lane: Lane, request: Request) -> None:
        """Queues a request, whose reply will be set.

        Raises QueueFull where there is no room, ModelNotReady where the lane is no longer served.
        """
        if lane not in self._lanes:
            raise ModelNotReady(f"{lane.model} version {lane.version} has been unloaded")
        if lane.queue.rows + request.rows > lane.queue.capacity_rows:
            self._expire(lane)
        try:
            lane.queue.push(request)
        except ServeError as error:
            self._observer.request_dropped(lane.model, lane.version, error.reason)
            raise
        self._dispatch()

    def withdraw(self, lane: Lane, request: Request, error: ServeError) -> None:
        """Takes a request back whose caller has gone; one that is already running runs to its end unheard."""
        waiting = lane.queue.remove(request)
        request.reply.cancel()
        if request.reply.cancelled():
            self._observer.request_dropped(lane.model, lane.version, error.reason)
        if waiting:
            self._rest(lane)

    def _dispatch(self) -> None:
        while self._free > 0:
            lane = next((lane for lane in self._lanes if len(lane.queue)), None)
            if lane is None:
                return
            del self._lanes[lane]
            self._lanes[lane] = None
            batch = self._take(lane)
            if batch:
                self._start(lane, batch)
            else:
                self._rest(lane)

    def _take(self, lane: Lane) -> list[Request]:
        self._expire(lane)
        batch = choose(lane.queue, lane.limits)
        for request in batch:
            lane.queue.remove(request)
        return batch

    def _expire(self, lane: Lane) -> None:
        for request in lane.queue.expire(self._clock.now()):
            if not request.reply.cancelled():  # the cancelled are counted when their callers withdraw them
                self._observer.request_dropped(lane.model, lane.version, DeadlineExpired.reason)

    def _start(self, lane: Lane, batch: list[Request]) -> None:
        self._free -= 1
        lane.running += 1
        started = self._clock.now()
        loop = asyncio.get_running_loop()
        future = self._executor.submit(self._execute, lane, batch)

        def done(finished: Future[_Outcome]) -> None:
            loop.call_soon_threadsafe(partial(self._finish, lane, batch, started, finished))

        future.add_done_callback(done)

    def _execute(self, lane: Lane, batch: list[Request]) -> _Outcome:
        """In a worker thread."""
        try:
            return self._run_together(lane, batch)
        except Exception as error:
            self._log_failure(lane, batch, error)
            if len(batch) > 1:
                return self._run_one_by_one(lane, batch)
            # The session's own errors say what the caller may know; any other exception text stays in the log.
            known = error if isinstance(error, ServeError) else InferenceFailed("the model failed on this request")
            return _Outcome([known], 0.0, 0.0, 0.0, failed=True)

    def _run_together(self, lane: Lane, batch: list[Request]) -> _Outcome:
        begin = self._clock.now()
        inputs = collate(batch, lane.inputs)
        collated = self._clock.now()
        outputs = lane.run(inputs, batch[0].outputs)
        computed = self._clock.now()
        results = list(split(outputs, batch, lane.outputs))
        return _Outcome(results, collated - begin, computed - collated, self._clock.now() - computed, failed=False)

    def _run_one_by_one(self, lane: Lane, batch: list[Request]) -> _Outcome:
        outcomes = [self._execute(lane, [request]) for request in batch]
        return _Outcome(
            [outcome.results[0] for outcome in outcomes],
            sum(outcome.collate_s for outcome in outcomes),
            sum(outcome.compute_s for outcome in outcomes),
            sum(outcome.split_s for outcome in outcomes),
            failed=True,
        )

    @staticmethod
    def _log_failure(lane: Lane, batch: list[Request], error: Exception) -> None:
        log.error(
            "a run failed",
            exc_info=error,
            extra={
                "model": lane.model,
                "version": lane.version,
                "requests": [request.request_id for request in batch],
            },
        )

    def _finish(self, lane: Lane, batch: list[Request], started: float, finished: Future[_Outcome]) -> None:
        """Back on the event loop: answers everyone, tells the observer, takes the next batch."""
        self._free += 1
        lane.running -= 1
        outcome = finished.result()
        rows, tokens, padded = tokens_of(batch)
        queue_s = tuple(max(0.0, started - request.enqueued_at) for request in batch)
        for request, result, waited in zip(batch, outcome.results, queue_s, strict=True):
            if request.dead:
                continue
            if isinstance(result, ServeError):
                request.reply.set_exception(result)
            else:
                request.reply.set_result(Answer(result, RunTiming(waited, outcome.compute_s, rows, padded)))
        self._observer.batch_ran(
            BatchRecord(
                model=lane.model,
                version=lane.version,
                requests=len(batch),
                rows=rows,
                tokens=tokens,
                padded_tokens=padded,
                queue_s=queue_s,
                compute_s=outcome.compute_s,
                collate_s=outcome.collate_s,
                split_s=outcome.split_s,
                failed=outcome.failed,
            )
        )
        self._dispatch()
        self._rest(lane)

    @staticmethod
    def _rest(lane: Lane) -> None:
        if lane.idle is not None and not lane.busy:
            lane.idle.set()
