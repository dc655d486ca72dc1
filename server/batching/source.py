"""Work that makes its own runs, one after another, as decoding does; it takes its turn beside the lanes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


@dataclass(slots=True, eq=False)
class OwnRun:
    """One run, ready to begin."""

    seconds: float
    """What it is predicted to take."""
    work: Callable[[], None]
    """Done in a worker thread."""
    done: Callable[[], Callable[[], None] | None]
    """Called on the event loop when `work` has returned, and before the next run is chosen; what it returns is called
    after that, while the next run computes already."""
    failed: Callable[[BaseException], None]
    """Called there in place of `done` when `work` raised, or its thread died."""


class RunSource(Protocol):
    """Served by the scheduler as a lane is: by the core-seconds that it has had."""

    served_s: float
    """Core-seconds had, on the scheduler's scale."""
    threads: int
    """Cores that each of its runs takes."""

    @property
    def run_s(self) -> float:
        """What its next run is predicted to take, in seconds."""
        ...

    def next_run(self, now: float) -> OwnRun | None:
        """The next run, its cores being taken; None where there is nothing to do after all."""
        ...
