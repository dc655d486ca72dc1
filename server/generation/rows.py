"""The rows of the running batch: who owns each, what it feeds next, how far it is; dense, as the slots they mirror."""

from collections.abc import Sequence
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Owner = TypeVar("Owner")


class LiveRows(Generic[Owner]):
    """Rows 0..count-1; a row that leaves is replaced by the last one.

    The arrays that a step graph reads are never moved: a run over all rows is bound to their first `count` elements.
    """

    def __init__(self, max_rows: int) -> None:
        self.max_rows = max_rows
        self.count = 0
        self.tokens: NDArray[np.int64] = np.zeros((max_rows, 1), np.int64)
        """What each row feeds next."""
        self.lengths: NDArray[np.int32] = np.zeros(max_rows, np.int32)
        """Positions that each row holds."""
        self.written: NDArray[np.int64] = np.zeros(max_rows, np.int64)
        """New tokens so far."""
        self.limits: NDArray[np.int64] = np.zeros(max_rows, np.int64)
        """The most new tokens."""
        self.forced: NDArray[np.bool_] = np.zeros(max_rows, np.bool_)
        """What follows is given, by a prompt or a prefix; nothing is chosen."""
        self.resting: NDArray[np.bool_] = np.zeros(max_rows, np.bool_)
        """The row must not go on: its prompt is still being read in larger runs, or its reader is behind."""
        self.scores: NDArray[np.float64] = np.zeros(max_rows, np.float64)
        """Log probability of what was written."""
        self.beams: NDArray[np.bool_] = np.zeros(max_rows, np.bool_)
        """The row is one of several that follow one request."""
        self.owners: list[Owner] = []
        self._columns: tuple[NDArray[np.generic], ...] = (
            self.tokens,
            self.lengths,
            self.written,
            self.limits,
            self.forced,
            self.resting,
            self.scores,
            self.beams,
        )

    def join(self, owner: Owner, *, token: int, limit: int, forced: bool, resting: bool, beams: bool) -> int:
        """A row at the end; returns its number. Raises IndexError where there are `max_rows`."""
        row = self.count
        for column in self._columns:
            column[row] = 0
        self.tokens[row] = token
        self.limits[row] = limit
        self.forced[row] = forced
        self.resting[row] = resting
        self.beams[row] = beams
        self.owners.append(owner)
        self.count += 1
        return row

    def leave(self, row: int) -> Owner | None:
        """Frees a row; returns the owner of the last one, which has taken its place, or None where it was the last."""
        last = self.count - 1
        self.count = last
        moved = self.owners.pop()
        if row == last:
            return None
        for column in self._columns:
            column[row] = column[last]
        self.owners[row] = moved
        return moved

    def clear(self) -> None:
        """No rows."""
        self.count = 0
        self.owners.clear()

    def active(self) -> NDArray[np.intp]:
        """The rows that go on."""
        return np.flatnonzero(~self.resting[: self.count])

    def longest(self) -> int:
        """The most positions that a row holds."""
        return int(self.lengths[: self.count].max(initial=0))

    def reorder(self, rows: Sequence[int], parents: Sequence[int]) -> None:
        """Beams: scores and lengths of rows[i] become those that row parents[i] had."""
        self.lengths[list(rows)] = self.lengths[list(parents)]
