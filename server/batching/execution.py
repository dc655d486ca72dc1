"""One run, from a batch to each request's outputs or error; in a worker thread, or on the event loop if it is short."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

from server.batching.lane import Lane
from server.batching.policy import Batch
from server.batching.request import Request
from server.batching.variant import Stop, Variant
from server.clock import Clock
from server.errors import InferenceFailed, RequestCancelled, ServeError
from server.tensors import Array

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)  # not frozen: one a run, and freezing costs as much as all else of it
class Outcome:
    """What came out of one run: each request's outputs or error, and the phases' seconds."""

    results: Sequence[dict[str, Array] | ServeError]
    collate_s: float
    compute_s: float
    split_s: float
    cost_s: float
    """What the run cost, as the variant counts."""
    failed: bool


def execute(lane: Lane, batch: Batch, stop: Stop | None, clock: Clock) -> Outcome:
    """Runs a batch; one that fails as a whole is run again one request at a time, so that only the guilty one fails."""
    try:
        return _run(batch.variant, batch.requests, stop, clock)
    except Exception as error:
        if isinstance(error, RequestCancelled):
            return Outcome([error], 0.0, 0.0, 0.0, 0.0, failed=True)
        _log_failure(lane, batch.requests, error)
        if len(batch.requests) > 1:
            return _run_one_by_one(lane, batch, clock)
        # The session's own errors say what the caller may know; any other exception text stays in the log.
        known = error if isinstance(error, ServeError) else InferenceFailed("the model failed on this request")
        return Outcome([known], 0.0, 0.0, 0.0, 0.0, failed=True)


def nothing(batch: Batch) -> Outcome:
    """What is left of a batch whose thread died."""
    failed = [
        InferenceFailed("the run ended without an answer; the cause is in the server's log") for _ in batch.requests
    ]
    return Outcome(failed, 0.0, 0.0, 0.0, 0.0, failed=True)


def _run(variant: Variant, requests: list[Request], stop: Stop | None, clock: Clock) -> Outcome:
    now, layout = clock.now, variant.layout
    cpu = time.thread_time()
    begin = now()
    inputs = layout.collate(requests)
    collated = now()
    outputs = variant.run(inputs, requests[0].outputs, stop)
    computed = now()
    results = list(layout.split(outputs, requests))
    end = now()
    cost_s = time.thread_time() - cpu if variant.counts_cpu and variant.threads == 1 else end - begin
    return Outcome(results, collated - begin, computed - collated, end - computed, cost_s, failed=False)


def _run_one_by_one(lane: Lane, batch: Batch, clock: Clock) -> Outcome:
    variant, work = batch.variant, batch.work
    outcomes = [
        _left() if request.dead else execute(lane, Batch([request], variant, work, batch.seconds), None, clock)
        for request in batch.requests
    ]
    return Outcome(
        [outcome.results[0] for outcome in outcomes],
        sum(outcome.collate_s for outcome in outcomes),
        sum(outcome.compute_s for outcome in outcomes),
        sum(outcome.split_s for outcome in outcomes),
        0.0,
        failed=True,
    )


def _left() -> Outcome:
    """For a request whose caller has gone, so that it need not run."""
    return Outcome([RequestCancelled("the caller has gone")], 0.0, 0.0, 0.0, 0.0, failed=True)


def _log_failure(lane: Lane, requests: list[Request], error: Exception) -> None:
    log.error(
        "a run failed",
        exc_info=error,
        extra={
            "model": lane.model,
            "version": lane.version,
            "requests": [request.request_id for request in requests],
        },
    )
