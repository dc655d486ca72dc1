"""A request on its way through a model's queue; it owns its reply."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from server.tensors import Array


@dataclass(frozen=True, slots=True)
class RunTiming:
    """How one request fared: seconds, and the batch that it ran in."""

    queue_s: float
    compute_s: float
    batch_rows: int
    batch_tokens: int
    """Padded tokens of the batch: its rows times its longest length; equal to the rows where nothing has a length."""


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """The outputs of one request, cropped to its own rows and lengths."""

    outputs: Mapping[str, Array]
    timing: RunTiming


@dataclass(slots=True, eq=False)
class Request:
    """Admitted work: `inputs` fit the model's signature, all with the same rows and lengths."""

    request_id: str
    inputs: Mapping[str, Array]
    outputs: tuple[str, ...]
    """The names of the outputs to fetch."""
    rows: int
    lengths: Mapping[str, int]
    """The size of each named length axis."""
    group: tuple[object, ...]
    """Requests of different groups cannot run together: the sizes of their free axes differ."""
    enqueued_at: float
    """Monotonic seconds."""
    deadline: float | None
    """Monotonic seconds; None waits as long as it takes."""
    reply: asyncio.Future[Answer] = field(repr=False)
    priority: int = 0
    """Larger goes first."""

    @property
    def tokens(self) -> int:
        """Rows times the longest length: what the request costs alone, before padding."""
        return self.rows * max(self.lengths.values(), default=1)

    @property
    def dead(self) -> bool:
        """Whether nobody waits for the reply any more."""
        return self.reply.done()
