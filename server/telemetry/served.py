"""What the metrics read of a version that serves."""

from dataclasses import dataclass
from typing import Protocol

from server.telemetry.statistics import ModelStatistics


class QueueLevel(Protocol):
    """A queue, read at each scrape from another thread than it is written on."""

    @property
    def rows(self) -> int:
        """Rows that wait."""
        ...

    @property
    def capacity_rows(self) -> int:
        """Rows that may wait."""
        ...

    def __len__(self) -> int:
        """Requests that wait."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class ServedVersion:
    """One version of one model between its load and its unload."""

    model: str
    version: int
    statistics: ModelStatistics
    queue: QueueLevel
