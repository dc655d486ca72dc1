"""One model version as the scheduler sees it: its queue, its limits, its session, and what is running."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from server.batching.policy import BatchLimits
from server.batching.queue import RequestQueue
from server.batching.request import Request
from server.manifest import InputSpec, OutputSpec
from server.tensors import Array

Run = Callable[[Mapping[str, Array], Sequence[str]], Mapping[str, Array]]
"""A blocking run of a session: inputs by name, names of the outputs to fetch -> outputs by name."""


@dataclass(eq=False, slots=True)
class Lane:
    """The scheduler serves lanes in turn; a lane knows nothing of the others."""

    model: str
    version: int
    run: Run
    inputs: Sequence[InputSpec]
    outputs: Mapping[str, OutputSpec]
    limits: BatchLimits
    queue: RequestQueue
    running: int = 0
    """Batches whose runs have not finished."""
    idle: asyncio.Event | None = None
    """Set by the scheduler when nothing waits or runs; made when somebody waits for it."""

    @property
    def busy(self) -> bool:
        """Whether anything waits or runs."""
        return self.running > 0 or len(self.queue) > 0


def tokens_of(requests: Sequence[Request]) -> tuple[int, int, int]:
    """(rows, tokens with content, padded tokens) of a batch."""
    rows = sum(request.rows for request in requests)
    longest = max(max(request.lengths.values(), default=1) for request in requests)
    return rows, sum(request.tokens for request in requests), rows * longest
