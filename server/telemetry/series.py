"""Labelled metrics whose series go when what they count goes, so that reloading for ever takes no memory."""

from typing import Generic, TypeVar

from prometheus_client import Counter, Histogram

M = TypeVar("M", Counter, Histogram)


class Series(Generic[M]):
    """The series of one metric, grouped by their first labels: (model, version), or (model,)."""

    def __init__(self, metric: M, owner_labels: int) -> None:
        self._metric: M = metric
        self._owner_labels = owner_labels
        self._owned: dict[tuple[str, ...], set[tuple[str, ...]]] = {}

    def of(self, *values: str) -> M:
        """The series with these label values, in the order of the metric's labels."""
        self._owned.setdefault(values[: self._owner_labels], set()).add(values)
        return self._metric.labels(*values)

    def forget(self, *owner: str) -> None:
        """Removes every series that begins with these label values."""
        for values in self._owned.pop(owner, ()):
            self._metric.remove(*values)
