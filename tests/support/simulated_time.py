"""Time that is what a simulation says: a clock, and an event loop that jumps from event to event."""

import asyncio
import contextvars
import selectors
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from server.clock import ManualClock


class MachineClock(ManualClock):
    """The machine's time, and while a run is computed, that run's."""

    def __init__(self) -> None:
        super().__init__()
        self._of_run: float | None = None

    @property
    def machine(self) -> float:
        """The machine's time."""
        return super().now()

    def now(self) -> float:
        """The time as who asks sees it."""
        return self.machine if self._of_run is None else self._of_run

    def spend(self, seconds: float) -> None:
        """Computes for so long: in a run that is the run's time, on the event loop everybody's."""
        if self._of_run is None:
            self.advance(seconds)
        else:
            self._of_run += seconds

    @contextmanager
    def of_run(self, begin: float) -> Iterator[None]:
        """Time counts from `begin`, for the run alone."""
        self._of_run = begin
        try:
            yield
        finally:
            self._of_run = None


class _Jumping(selectors.SelectSelector):
    """Moves the clock to the next event; where none is left, ends the loop."""

    def __init__(self, clock: MachineClock) -> None:
        super().__init__()
        self._clock = clock
        self.nothing_left: Callable[[], None] = lambda: None

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            self.nothing_left()
        elif timeout > 0:
            self._clock.advance(timeout)
        return []


class SimulatedLoop(asyncio.SelectorEventLoop):
    """An event loop on the machine's time; what a run says from its thread is held back while `saying` is a list."""

    def __init__(self, clock: MachineClock) -> None:
        jumping = _Jumping(clock)
        self._machine_clock = clock
        self.saying: list[Callable[[], object]] | None = None
        super().__init__(jumping)
        jumping.nothing_left = self.stop

    def time(self) -> float:
        return self._machine_clock.machine

    def call_soon_threadsafe(
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        if self.saying is None:
            return super().call_soon_threadsafe(callback, *args, context=context)
        self.saying.append(lambda: callback(*args))
        return asyncio.Handle(callback, args, self, context)
