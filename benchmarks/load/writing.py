"""Requests that have text written: sources and wanted lengths from a seed, and what is right to write for each."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from benchmarks.load.requests import Ids, RequestList

Margins = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class WritingList(RequestList):
    """Sources as ids, [length], and as the texts that a client sends; and how many tokens each is to have written."""

    texts: tuple[str, ...]
    wanted: tuple[int, ...]

    @override
    def digest(self) -> str:
        """SHA-256 over all ids, in order, and the wanted lengths."""
        return hashlib.sha256(f"{super().digest()} {self.wanted}".encode()).hexdigest()

    @property
    def longest(self) -> int:
        """Tokens of the longest source."""
        return max(map(len, self.rows))


def evenly(least: int, most: int, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """`count` whole numbers spread evenly from `least` to `most`, in random order."""
    shares = (np.arange(count) + 0.5) / count
    return rng.permutation(np.rint(least - 0.5 + (most - least + 1) * shares).astype(np.int64).clip(least, most))


@dataclass(frozen=True, eq=False)
class Greedy:
    """What taking the likeliest token writes for one request, run alone."""

    ids: Ids
    margins: Margins
    """By how much the score of each of these tokens is above that of the next likeliest, [tokens]."""


@dataclass(frozen=True, eq=False)
class References:
    """What is right for every request of a list."""

    rows: tuple[Greedy, ...]
    tolerance: float
    """A margin up to this is a tie: in other company the other token may be the likeliest."""


@dataclass
class Comparison:
    """How texts compare with what is right."""

    texts: int = 0
    tokens: int = 0
    tokens_alike: int | None = None
    """Those before the first difference in each text: what follows it was written from something else. None: only
    lengths are known to be right."""
    parted_at_tie: int = 0
    """Texts whose first difference is at a tie."""
    unequal: int = 0
    """Texts whose first difference is not."""

    def add(self, found: Sequence[int] | Ids, right: Greedy, tolerance: float) -> bool:
        """Counts one text; whether it is right: of the length wanted, and the same up to a tie at least."""
        ids = np.asarray(found, dtype=np.int64)
        if not self.add_length(ids, len(right.ids)):
            return False
        differences = np.flatnonzero(ids != right.ids)
        first = int(differences[0]) if len(differences) else len(ids)
        self.tokens_alike = (self.tokens_alike or 0) + first
        if not len(differences):
            return True
        tie = bool(right.margins[first] <= tolerance)
        self.parted_at_tie += tie
        self.unequal += not tie
        return tie

    def add_length(self, found: Sequence[int] | Ids, wanted: int) -> bool:
        """Counts one text of which only the length is known; whether it has that."""
        self.texts += 1
        self.tokens += len(found)
        self.unequal += len(found) != wanted
        return len(found) == wanted


def share_within(began_s: float, done_s: float, start_s: float, end_s: float) -> float:
    """The share of the time from `began_s` to `done_s` that lies between `start_s` and `end_s`."""
    if done_s <= began_s:
        return float(start_s <= done_s < end_s)
    return max(0.0, min(done_s, end_s) - max(began_s, start_s)) / (done_s - began_s)
