"""Increments on their way to whoever reads them: a bounded buffer, and a word to the writer when it runs full."""

import asyncio
from collections import deque
from collections.abc import Callable

from server.errors import ServeError
from server.generation.result import Increment


class Reader:
    """Used on the event loop's thread; one consumer."""

    def __init__(self, capacity: int) -> None:
        """Full with `capacity` increments, and ready for more once half of them are read."""
        self._capacity = capacity
        self._unread: deque[Increment] = deque()
        self._changed = asyncio.Event()
        self._error: ServeError | None = None
        self._ended = False
        self.on_room: Callable[[], None] | None = None
        """Called when there is room again after it was full."""

    @property
    def full(self) -> bool:
        """Whether whoever writes should rest."""
        return len(self._unread) >= self._capacity

    def put(self, increment: Increment) -> None:
        """Appends an increment; one with `finish` is the last."""
        self._unread.append(increment)
        self._ended = increment.finish is not None
        self._changed.set()

    def fail(self, error: ServeError) -> None:
        """Ends the reading with an error, after what is unread."""
        self._error = error
        self._changed.set()

    async def get(self) -> Increment | None:
        """The next increment; None after the last. Raises what `fail` was told."""
        while not self._unread:
            if self._error is not None:
                raise self._error
            if self._ended:
                return None
            self._changed.clear()
            await self._changed.wait()
        increment = self._unread.popleft()
        if self.on_room is not None and len(self._unread) <= self._capacity // 2:
            self.on_room()
        return increment
