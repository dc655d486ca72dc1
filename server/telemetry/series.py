"""Counts and distributions as plain numbers, which take prometheus_client's form when somebody looks.

Calls end some thousand times a second and are looked at every few seconds, so counting one must cost next to nothing:
whoever counts finds its series once, keeps it, and adds to a number. One thread at a time writes a series, so nothing
is lost without a lock; another may read meanwhile, and finds each number as it was before or after an update.
"""

from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate
from threading import Lock
from typing import Generic, TypeVar

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.utils import floatToGoString


class Count:
    """A number that only grows."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def add(self, amount: float = 1.0) -> None:
        """Adds to it."""
        self.value += amount


class Distribution:
    """How many values there were up to each bound, and their sum."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        """`bounds` are ascending; a value counts under the first that it does not exceed, else under infinity."""
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Counts a value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def cumulative(self) -> tuple[list[int], float]:
        """(how many values were at most each bound, infinity last; their sum)."""
        return list(accumulate(self._counts)), self._sum


C = TypeVar("C", Count, Distribution)


class Series(ABC, Generic[C]):
    """The series of one metric by their label values, a collector of prometheus_client's.

    The first labels name the owner, (model, version) or (model,): its series go when it goes, so that reloading for
    ever takes no memory.
    """

    def __init__(self, name: str, documentation: str, labels: Sequence[str], owner_labels: int) -> None:
        self._name = name
        self._documentation = documentation
        self._labels = labels
        self._owner_labels = owner_labels
        self._lock = Lock()
        """Around the table, not around the numbers in it."""
        self._table: dict[tuple[str, ...], C] = {}

    def of(self, *values: str) -> C:
        """What counts under these label values, in the order of the metric's labels; the series begins with it."""
        with self._lock:
            if values not in self._table:
                self._table[values] = self._make()
            return self._table[values]

    def forget(self, *owner: str) -> None:
        """Removes every series that begins with these label values."""
        with self._lock:
            for values in [values for values in self._table if values[: self._owner_labels] == owner]:
                del self._table[values]

    @abstractmethod
    def collect(self) -> Iterator[Metric]:
        """The family, even where it has no series yet."""

    @abstractmethod
    def _make(self) -> C: ...

    def _begun(self) -> list[tuple[tuple[str, ...], C]]:
        with self._lock:
            return list(self._table.items())


class Counts(Series[Count]):
    """A counter."""

    def collect(self) -> Iterator[Metric]:
        """The family, even where it has no series yet."""
        family = CounterMetricFamily(self._name, self._documentation, labels=self._labels)
        for values, count in self._begun():
            family.add_metric(values, count.value)
        yield family

    def _make(self) -> Count:
        return Count()


class Distributions(Series[Distribution]):
    """A histogram."""

    def __init__(
        self, name: str, documentation: str, labels: Sequence[str], owner_labels: int, bounds: Sequence[float]
    ) -> None:
        """`bounds` are ascending; infinity is added to them."""
        super().__init__(name, documentation, labels, owner_labels)
        self._bounds = bounds
        texts = [floatToGoString(bound) for bound in (*bounds, float("inf"))]  # type: ignore[no-untyped-call]
        self._bound_texts: list[str] = texts

    def collect(self) -> Iterator[Metric]:
        """The family, even where it has no series yet."""
        family = HistogramMetricFamily(self._name, self._documentation, labels=self._labels)
        for values, distribution in self._begun():
            counts, total = distribution.cumulative()
            family.add_metric(values, list(zip(self._bound_texts, counts, strict=True)), total)
        yield family

    def _make(self) -> Distribution:
        return Distribution(self._bounds)
