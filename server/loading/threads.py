"""How a model's runs should use the cores: many runs of one thread, in one session or in several, or one run of many.

Measured at load, each way in turns, at the size of batch that runs best; one session with runs of one thread is kept
unless another way is clearly faster, because it takes the least memory and lets other models in between.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from server.batching.request import Rows
from server.batching.variant import BatchLimits, Variant
from server.loading.calibration import run_once
from server.loading.samples import Samples

log = logging.getLogger(__name__)

ROUNDS = 3
CLEARLY = 1.08
"""How many times faster a way must be to be taken in place of the first."""
USUAL_LENGTH = 32


@dataclass(frozen=True, slots=True)
class ThreadPlan:
    """Threads of one run, and sessions that the runs are spread over."""

    threads: int
    sessions: int

    @property
    def name(self) -> str:
        """As metrics and logs tell it."""
        return f"{self.threads} threads a run, {self.sessions} sessions"


ONE_THREAD = ThreadPlan(1, 1)
"""Runs of one thread, as many at once as there are cores, in one session."""


def best_plan(
    ways: Sequence[tuple[ThreadPlan, Variant]],
    samples: Samples,
    limits: BatchLimits,
    cores: int,
    seconds: float,
    clock: Callable[[], float] = time.perf_counter,
) -> ThreadPlan:
    """The way with the highest rate of rows, within about `seconds` of measuring; the first unless clearly beaten.

    The rate is that of the quicker runs, a quarter of all: what else goes on on the machine makes runs slow, never
    quick.
    """
    length = min(samples.longest, USUAL_LENGTH)
    _, tokens = ways[0][1].appetite(length, limits)
    batch_rows = max(1, tokens // length)
    times: dict[ThreadPlan, list[float]] = {plan: [] for plan, _ in ways}
    for _ in range(ROUNDS):
        for plan, variant in ways:
            batch = [samples.rows(1, length, variant.usual_outputs) for _ in range(batch_rows)]
            at_once = max(1, cores // plan.threads)
            times[plan] += _times(variant, batch, at_once, seconds / (ROUNDS * len(ways)), clock)
    rates = {plan: (cores // plan.threads) / _lower_quartile(taken) for plan, taken in times.items() if taken}
    first = ways[0][0]
    best = max(rates, key=lambda plan: rates[plan], default=first)
    return best if first in rates and rates[best] > CLEARLY * rates[first] else first


def _lower_quartile(times: list[float]) -> float:
    return max(1e-9, sorted(times)[len(times) // 4])


def _times(
    variant: Variant, batch: list[Rows], at_once: int, seconds: float, clock: Callable[[], float]
) -> list[float]:
    """What each run took, so many going on at once; empty where one failed."""
    end = clock() + seconds
    taken: list[float] = []
    failed: list[Exception] = []

    def work() -> None:
        start = clock()
        while not failed:
            try:
                run_once(variant, batch)
            except Exception as error:
                failed.append(error)
                return
            start, begin = clock(), start
            taken.append(start - begin)
            if start >= end:
                return

    threads = [threading.Thread(target=work, name="measure") for _ in range(at_once)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        log.warning("a way of using threads cannot be measured", exc_info=failed[0], extra={"variant": variant.name})
        return []
    return taken
