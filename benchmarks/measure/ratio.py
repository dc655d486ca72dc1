"""Ratios of paired measurements: the median of the pairs' ratios, with an interval that assumes no distribution.

The interval is that of the sign test: between two of the sorted ratios lies the true median with a probability that
the binomial distribution of n fair coins gives exactly. With six pairs it is the smallest and the largest, 96.9%.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Ratio:
    """A ratio of medians of pairs; the true median lies between `low` and `high` with probability `coverage`."""

    value: float
    low: float
    high: float
    coverage: float
    """At least 0.95, unless there are fewer than six pairs: then what the widest interval has."""
    pairs: int


def paired_ratio(pairs: Sequence[tuple[float, float]]) -> Ratio:
    """The ratio of the first to the second of each pair.

    Raises ValueError if there is no pair, or a value that is not a positive finite number.
    """
    if not pairs:
        raise ValueError("no pair to take a ratio of")
    for pair in pairs:
        if not all(math.isfinite(value) and value > 0 for value in pair):
            raise ValueError(f"a ratio needs two positive numbers, not {pair[0]} and {pair[1]}")
    return median_interval([a / b for a, b in pairs])


def median_interval(values: Sequence[float]) -> Ratio:
    """The median of ratios that are already taken, with its interval."""
    ranked = sorted(values)
    count = len(ranked)
    outside = _excluded(count)
    return Ratio(median(ranked), ranked[outside], ranked[count - 1 - outside], _coverage(count, outside), count)


def median(values: Sequence[float]) -> float:
    """The middle value, or the mean of the two middle ones."""
    ranked = sorted(values)
    middle = len(ranked) // 2
    return ranked[middle] if len(ranked) % 2 else (ranked[middle - 1] + ranked[middle]) / 2


def geometric_mean(rows: Sequence[Sequence[float]]) -> Ratio:
    """The geometric mean over several cells' ratios, pair by pair, and the median of those means.

    `rows` holds the ratios of each cell's pairs; where the cells differ in pairs, the first that all have count.
    """
    means = [math.exp(sum(map(math.log, column)) / len(rows)) for column in zip(*rows, strict=False)]
    return median_interval(means)


def _excluded(count: int) -> int:
    """How many of the sorted values may be left out at either end."""
    outside = 0
    while 2 * (outside + 1) < count and _coverage(count, outside + 1) >= CONFIDENCE:
        outside += 1
    return outside


def _coverage(count: int, outside: int) -> float:
    """The probability that the median lies between the values `outside` from either end."""
    tail = sum(math.comb(count, hits) for hits in range(outside + 1))
    return 1.0 - 2.0 * tail / 2.0**count
