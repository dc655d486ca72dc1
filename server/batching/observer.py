"""What batching tells of itself, without knowing who listens."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """One run of a session."""

    model: str
    version: int
    requests: int
    rows: int
    tokens: int
    """Tokens with content."""
    padded_tokens: int
    """Tokens computed: rows times the longest length."""
    queue_s: tuple[float, ...]
    """Queue time of each request."""
    compute_s: float
    collate_s: float
    split_s: float
    failed: bool

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
