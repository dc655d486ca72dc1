"""One model version as the scheduler sees it: its queue, its variants, its limits, and what is running."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from server.batching.queue import RequestQueue
from server.batching.request import Request
from server.batching.variant import BatchLimits, Stop, Variant

AVERAGE_WEIGHT = 0.1
"""Of the latest run, in what a lane remembers of its runs."""
STEP_BOUND = 10.0
"""A run that took so many times what was to be expected counts as this much: the clock may have jumped in it."""
MAX_REMEMBERED = 4096
"""Shapes of requests whose cost alone is remembered."""


@dataclass(eq=False, slots=True)
class Lane:
    """The scheduler serves lanes by the core-seconds they have had; a lane knows nothing of the others."""

    model: str
    version: int
    variants: Sequence[Variant]
    limits: BatchLimits
    queue: RequestQueue[Request]
    running: int = 0
    """Batches whose runs have not finished."""
    served_s: float = 0.0
    """Core-seconds that the lane has had, on the scheduler's scale: who has had least goes next."""
    efficiency: float = 1.0
    """Core-seconds that a run really took, over what its requests were predicted to take alone; a running average."""
    run_s: float = 0.0
    """Seconds that a run takes from its start to its replies; a running average."""
    stops: dict[int, Stop] = field(default_factory=dict)
    """How to end the run of a request that runs by itself, by the request's identity."""
    idle: asyncio.Event | None = None
    """Set by the scheduler when nothing waits or runs; made when somebody waits for it."""
    _alone: dict[tuple[object, ...], tuple[float, Variant]] = field(default_factory=dict)
    _alone_of_run: int = 0
    _runs: int = 0

    @property
    def busy(self) -> bool:
        """Whether anything waits or runs."""
        return self.running > 0 or len(self.queue) > 0

    def alone(self, request: Request) -> tuple[float, Variant]:
        """(predicted core-seconds of a run with this request alone, the variant that does it best).

        Raises ValueError where no variant answers the request.
        """
        if self._runs - self._alone_of_run > MAX_REMEMBERED or len(self._alone) > MAX_REMEMBERED:
            self._alone.clear()
            self._alone_of_run = self._runs
        key = (request.rows, request.length, request.precision, request.outputs)
        found = self._alone.get(key)
        if found is None:
            costs = [
                (variant.seconds(request.rows, request.tokens, request.length) * variant.threads, variant)
                for variant in self.variants
                if variant.answers(request)
            ]
            found = self._alone[key] = min(costs, key=lambda cost: cost[0])
        return found

    def learn(self, requests: Sequence[Request], core_s: float, run_s: float) -> None:
        """Remembers a run that took so many core-seconds and so many seconds."""
        alone = sum(request.alone_s for request in requests)
        if alone > 0:
            self.efficiency += AVERAGE_WEIGHT * (min(STEP_BOUND, core_s / alone) - self.efficiency)
            run_s = min(run_s, STEP_BOUND * max(self.run_s, alone))
        self.run_s += (AVERAGE_WEIGHT if self._runs else 1.0) * (run_s - self.run_s)
        self._runs += 1

    def gain(self) -> float:
        """How much cheaper the next run is predicted to be than its requests alone; an estimate, quickly made."""
        if len(self.queue) < 2:
            return 1.0
        variant = self.variants[0]
        length = max(1, self.queue.tokens // self.queue.rows)
        _, best = variant.appetite(length, self.limits)
        rows = max(1, min(best, self.queue.tokens) // length)
        alone = variant.seconds(1, length, length) * rows
        return alone / max(1e-12, variant.seconds(rows, rows * length, length))
