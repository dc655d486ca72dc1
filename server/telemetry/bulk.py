"""Events that are kept as they come and worked on many at a time, or when somebody wants to know.

Between two events of a busy server other work has taken the processor's caches, so that ten lines of Python cost five
times what they cost when they run again and again. Keeping an event is one line.
"""

from collections import deque
from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar

Event = TypeVar("Event")

BULK = 64
"""So many are worked on at once: few enough for the event loop not to be held up, a tenth of a millisecond or so."""


class Bulk(Generic[Event]):
    """Added to by one thread, settled by that or any other; each event is worked on once, in order."""

    def __init__(self, work: Callable[[Event], None], size: int = BULK) -> None:
        self._work = work
        self._size = size
        self._events: deque[Event] = deque()
        self._lock = Lock()

    def add(self, event: Event) -> None:
        """Keeps an event; every so often works on all that are kept, unless another thread is at it."""
        self._events.append(event)
        if len(self._events) >= self._size and self._lock.acquire(blocking=False):
            try:
                self._work_all()
            finally:
                self._lock.release()

    def settle(self) -> None:
        """Returns once all that was added before has been worked on."""
        with self._lock:
            self._work_all()

    def _work_all(self) -> None:
        for _ in range(len(self._events)):
            self._work(self._events.popleft())
