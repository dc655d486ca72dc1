"""A request on its way through a model's queue; it owns its reply."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from server.manifest import Precision
from server.tensors import Array


@dataclass(slots=True)  # not frozen: made for every request
class RunTiming:
    """How one request fared: seconds, and the batch that it ran in."""

    queue_s: float
    compute_s: float
    batch_rows: int
    batch_tokens: int
    """Tokens that the run computed, padding included; equal to the rows where nothing has a length."""


@dataclass(slots=True, eq=False)  # not frozen: made for every request
class Answer:
    """The outputs of one request, cropped to its own rows and lengths."""

    outputs: Mapping[str, Array]
    timing: RunTiming


Group = tuple[object, ...]


@dataclass(slots=True, eq=False, kw_only=True)
class Rows:
    """Rows that fit a model's signature, all with the same lengths: what a layout builds batches of."""

    inputs: Mapping[str, Array]
    outputs: tuple[str, ...]
    """The names of the outputs to fetch."""
    rows: int
    lengths: Mapping[str, int]
    """The size of each named length axis."""
    masked: bool = False
    """Whether a mask came with them, which may hide tokens."""
    length: int = field(init=False)
    """The longest length; 1 where nothing has one."""
    tokens: int = field(init=False)
    """Rows times the longest length: what they count alone, before padding."""

    def __post_init__(self) -> None:
        self.length = max(self.lengths.values(), default=1)
        self.tokens = self.rows * self.length


@dataclass(slots=True, eq=False, kw_only=True)
class Request(Rows):
    """Admitted work, from its arrival to its reply."""

    request_id: str
    group: Group
    """Requests of different groups cannot run together: their outputs, precision or sizes of free axes differ."""
    enqueued_at: float
    """Monotonic seconds."""
    deadline: float | None
    """Monotonic seconds; None waits as long as it takes."""
    reply: "asyncio.Future[Answer]" = field(repr=False)
    priority: int = 0
    """Larger goes first."""
    precision: Precision = "fp32"
    alone_s: float = field(default=0.0, init=False)
    """The predicted core-seconds of a run of its own; set where it is queued."""

    @property
    def dead(self) -> bool:
        """Whether nobody waits for the reply any more."""
        return self.reply.done()
