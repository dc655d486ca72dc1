"""The bounded queue of one model version: by priority, then by arrival; dead requests leave at once."""

from collections.abc import Iterator
from itertools import chain

from server.batching.request import Request
from server.errors import DeadlineExpired, QueueFull


class RequestQueue:
    """Waiting requests, counted in rows.

    Every operation costs O(1) in the number waiting, except for `expire`, which walks all of them.
    """

    def __init__(self, capacity_rows: int) -> None:
        self.capacity_rows = capacity_rows
        self.rows = 0
        self._levels: dict[int, dict[int, Request]] = {}
        self._requests = 0
        """Kept, not counted: a scrape asks from another thread while the levels change."""

    def __len__(self) -> int:
        return self._requests

    def __iter__(self) -> Iterator[Request]:
        """Highest priority first, oldest first among equals."""
        return chain.from_iterable(level.values() for _, level in sorted(self._levels.items(), reverse=True))

    def push(self, request: Request) -> None:
        """Appends a request.

        Raises QueueFull, without waiting, where its rows do not fit any more.
        """
        if self.rows + request.rows > self.capacity_rows:
            raise QueueFull(
                f"{self.rows} of {self.capacity_rows} rows are waiting; {request.rows} more do not fit",
                {"queue_rows": str(self.rows), "capacity_rows": str(self.capacity_rows)},
            )
        self._levels.setdefault(request.priority, {})[id(request)] = request
        self.rows += request.rows
        self._requests += 1

    def remove(self, request: Request) -> bool:
        """Takes a request out; False where it is no longer waiting."""
        level = self._levels.get(request.priority)
        if level is None or level.pop(id(request), None) is None:
            return False
        if not level:
            del self._levels[request.priority]
        self.rows -= request.rows
        self._requests -= 1
        return True

    def expire(self, now: float) -> list[Request]:
        """Takes out every request that nobody waits for any more or whose deadline has passed, and returns them.

        The reply of one whose deadline has passed is set to DeadlineExpired.
        """
        gone = [r for r in self if r.dead or (r.deadline is not None and r.deadline <= now)]
        for request in gone:
            self.remove(request)
            if not request.dead:
                request.reply.set_exception(DeadlineExpired("the deadline passed while the request was in the queue"))
        return gone
