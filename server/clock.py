"""The clock that the server reads: monotonic seconds, injectable so that policies are tested without sleeping."""

import time
from typing import Protocol


class Clock(Protocol):
    """A source of monotonic time; wall-clock jumps never reach it."""

    def now(self) -> float:
        """Seconds since an arbitrary but fixed point."""
        ...


class MonotonicClock:
    """The real clock."""

    def now(self) -> float:
        """Seconds of the operating system's monotonic clock."""
        return time.monotonic()


class ManualClock:
    """A clock that tests move by hand."""

    def __init__(self, start: float = 0.0) -> None:
        self._now = start

    def now(self) -> float:
        """The time it was last moved to."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Moves the clock forward by `seconds` (not negative)."""
        if seconds < 0:
            raise ValueError(f"a monotonic clock cannot go back by {-seconds} s")
        self._now += seconds
