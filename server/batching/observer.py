"""What batching tells of itself, without knowing who listens."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(slots=True)  # not frozen: made for every run
class BatchRecord:
    """One run of a session."""

    model: str
    version: int
    requests: int
    rows: int
    tokens: int
    """Tokens with content."""
    padded_tokens: int
    """Tokens computed, padding included."""
    queue_s: tuple[float, ...]
    """Queue time of each request."""
    compute_s: float
    collate_s: float
    split_s: float
    failed: bool
    variant: str = ""
    """The layout and precision that ran, such as `block-diagonal/fp32`."""
    predicted_s: float = 0.0
    """What the cost model said that the run would take, as `cost_s` counts."""
    cost_s: float = 0.0
    """What it took from building the batch to taking it apart: core-seconds, or seconds where it had more threads."""

    @property
    def padding_ratio(self) -> float:
        """The share of computed tokens that is padding, 0 to below 1."""
        return 1.0 - self.tokens / self.padded_tokens if self.padded_tokens else 0.0


class BatchingObserver(Protocol):
    """Told on the event loop's thread; must be quick."""

    def batch_ran(self, record: BatchRecord) -> None:
        """A batch has run, well or not."""
        ...

    def request_dropped(self, model: str, version: int, reason: str) -> None:
        """A request left unserved; `reason` is a ServeError's (DEADLINE_EXPIRED, CANCELLED, QUEUE_FULL)."""
        ...
