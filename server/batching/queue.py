"""The bounded queue of one version: by priority, then by arrival; for all, and for each group that may run as one.

Every operation costs O(log n) in the number waiting or less: requests stand in linked dictionaries by order of arrival,
deadlines in a heap.
"""

import heapq
from bisect import insort
from collections import OrderedDict
from collections.abc import Iterator
from itertools import count
from typing import Generic, Protocol, TypeVar

from server.batching.request import Group
from server.errors import QueueFull

COMPACT_ABOVE = 64
"""Deadlines of requests that have left are swept once they are more than those that wait, and more than this."""


class Queued(Protocol):
    """What a queue must know of a request."""

    rows: int
    tokens: int
    group: Group
    priority: int
    enqueued_at: float
    deadline: float | None
    alone_s: float


R = TypeVar("R", bound=Queued)


class Line(Generic[R]):
    """Requests in the order of service: highest priority first, oldest first among equals."""

    def __init__(self) -> None:
        self._levels: dict[int, OrderedDict[int, R]] = {}
        self._order: list[int] = []
        """The priorities that wait, ascending."""

    def __iter__(self) -> Iterator[R]:
        """In order; whoever takes requests out meanwhile must make a list first."""
        for priority in reversed(self._order):
            yield from self._levels[priority].values()

    def add(self, request: R) -> None:
        """Appends a request behind its equals."""
        level = self._levels.get(request.priority)
        if level is None:
            level = self._levels[request.priority] = OrderedDict()
            insort(self._order, request.priority)
        level[id(request)] = request

    def remove(self, request: R) -> bool:
        """Takes a request out; False where it does not stand here. True leaves the line possibly `empty`."""
        level = self._levels.get(request.priority)
        if level is None or level.pop(id(request), None) is None:
            return False
        if not level:
            del self._levels[request.priority]
            self._order.remove(request.priority)
        return True

    @property
    def empty(self) -> bool:
        """Whether nobody stands here."""
        return not self._order

    def first(self) -> R:
        """Who is next. Raises IndexError where nobody stands here."""
        return next(iter(self._levels[self._order[-1]].values()))

    def oldest(self) -> R:
        """Who has waited longest, whatever the priority. Raises ValueError where nobody stands here."""
        return min((next(iter(level.values())) for level in self._levels.values()), key=lambda r: r.enqueued_at)


class RequestQueue(Generic[R]):
    """Waiting requests, counted in rows."""

    def __init__(self, capacity_rows: int) -> None:
        self.capacity_rows = capacity_rows
        self.rows = 0
        self.tokens = 0
        self._ahead: dict[int, float] = {}
        """Predicted core-seconds, each request alone, by priority."""
        self._line: Line[R] = Line()
        self._companies: dict[Group, Line[R]] = {}
        self._deadlines: list[tuple[float, int, R]] = []
        self._numbers = count()
        self._waiting: dict[int, R] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[R]:
        """Highest priority first, oldest first among equals."""
        return iter(self._line)

    def push(self, request: R) -> None:
        """Appends a request.

        Raises QueueFull, without waiting, where its rows do not fit any more.
        """
        if self.rows + request.rows > self.capacity_rows:
            raise QueueFull(
                f"{self.rows} of {self.capacity_rows} rows are waiting; {request.rows} more do not fit",
                {"queue_rows": str(self.rows), "capacity_rows": str(self.capacity_rows)},
            )
        self._waiting[id(request)] = request
        self._line.add(request)
        company = self._companies.get(request.group)
        if company is None:
            company = self._companies[request.group] = Line()
        company.add(request)
        if request.deadline is not None:
            heapq.heappush(self._deadlines, (request.deadline, next(self._numbers), request))
        self.rows += request.rows
        self.tokens += request.tokens
        self._ahead[request.priority] = self._ahead.get(request.priority, 0.0) + request.alone_s

    def remove(self, request: R) -> bool:
        """Takes a request out; False where it is no longer waiting."""
        if self._waiting.pop(id(request), None) is None:
            return False
        self._line.remove(request)
        company = self._companies[request.group]
        company.remove(request)
        if company.empty:
            del self._companies[request.group]
        self.rows -= request.rows
        self.tokens -= request.tokens
        self._ahead[request.priority] -= request.alone_s
        if not self._waiting:
            self._ahead.clear()  # and with them what sums of floats have left over
        if len(self._deadlines) > COMPACT_ABOVE + 2 * len(self._waiting):
            self._deadlines = [entry for entry in self._deadlines if id(entry[2]) in self._waiting]
            heapq.heapify(self._deadlines)
        return True

    def head(self, now: float, max_age_s: float) -> R:
        """Who must be in the next run: the oldest, once it has waited `max_age_s`; before that, who is first in order.

        Raises IndexError where nobody waits.
        """
        first = self._line.first()
        oldest = self._line.oldest()
        return oldest if now - oldest.enqueued_at >= max_age_s else first

    def oldest(self) -> R:
        """Who has waited longest, whatever the priority. Raises ValueError where nobody waits."""
        return self._line.oldest()

    def company(self, request: R) -> Iterator[R]:
        """Who may run with a waiting request, itself included, in the order of service."""
        return iter(self._companies[request.group])

    def ahead_s(self, priority: int | None = None) -> float:
        """The predicted core-seconds, each request alone, of all that goes before a new request of this priority.

        None: of all that waits.
        """
        return max(0.0, sum(seconds for level, seconds in self._ahead.items() if priority is None or level >= priority))

    def expire(self, now: float) -> list[R]:
        """Takes out every request whose deadline has passed, and returns them."""
        gone = []
        while self._deadlines and self._deadlines[0][0] <= now:
            request = heapq.heappop(self._deadlines)[2]
            if self.remove(request):
                gone.append(request)
        return gone
