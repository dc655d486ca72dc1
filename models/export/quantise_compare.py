"""A graph in fewer bits against the one that it was made from: each row alone, and among the rows of its batch.

rows -> source  ------------------------┐
     -> rounded, all in one batch ------┤
     -> rounded, each by itself  -------┴> differences, angles, scores
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from models.export.parity import Difference
from models.export.rows import Row
from server.tensors import Array

Answer = Mapping[str, Array]
"""One row's outputs by name, each with a leading row axis of 1."""
Answerer = Callable[[Sequence[Row]], Sequence[Answer]]
"""Answers rows that run together."""
Score = Callable[[Answer, Row], float]


@dataclass
class Comparison:
    """What has been seen so far; larger is worse, but for `min_cosine` and the scores."""

    error: Difference = field(default_factory=Difference)
    """To the source, of rows alone and in batches."""
    alone: Difference = field(default_factory=Difference)
    """Between a row in its batch and the same row alone, both rounded."""
    min_cosine: float = 1.0
    source_score: float = 0.0
    """Sum over the rows; so are the next two."""
    alone_score: float = 0.0
    batched_score: float = 0.0
    rows: int = 0

    @property
    def largest_error(self) -> float:
        """The largest of all differences: what two right answers of the rounded graph may have."""
        return max(self.error.largest, self.alone.largest)

    def add(self, source: Answer, answer: Answer) -> None:
        """Compares a rounded answer with the source's."""
        for name, exact in source.items():
            self.error.add(exact, answer[name])
            self.min_cosine = min(self.min_cosine, cosine(exact, answer[name]))


def compare(
    source: Answerer, rounded: Answerer, cases: Iterable[Sequence[Row]], score: Score | None, seen: Comparison
) -> None:
    """Runs every case as one batch through both graphs, and its rows by themselves through the rounded one.

    Adds what it finds to `seen`; scores only if `score` is given.
    """
    for case in cases:
        for row, exact, together in zip(case, source(case), rounded(case), strict=True):
            alone = rounded([row])[0] if len(case) > 1 else together
            seen.add(exact, together)
            seen.add(exact, alone)
            for name, array in alone.items():
                seen.alone.add(array, together[name])
            if score is not None:
                seen.source_score += score(exact, row)
                seen.alone_score += score(alone, row)
                seen.batched_score += score(together, row)
                seen.rows += 1


def cosine(ours: Array, theirs: Array) -> float:
    """Of the angle between two arrays as vectors: 1 where both are zero or empty, 0 where one is or has no length.

    Anything but floating-point numbers has no direction and gives 1; arrays of different shapes give 0.
    """
    if ours.dtype.kind != "f":
        return 1.0
    if ours.shape != theirs.shape:
        return 0.0
    first, second = ours.astype(np.float64).ravel(), theirs.astype(np.float64).ravel()
    lengths = float(np.linalg.norm(first)), float(np.linalg.norm(second))
    if lengths == (0.0, 0.0):
        return 1.0
    if not np.isfinite(lengths).all() or 0.0 in lengths:
        return 0.0
    return float(np.clip(first @ second / (lengths[0] * lengths[1]), -1.0, 1.0))
