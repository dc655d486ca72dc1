"""The method to beat in writing: what follows the last four bytes, counted (Kneser and Ney 1995)."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ORDER = 5
"""Symbols of a gram: four of context, and the one that follows."""
END_SYMBOL, START_SYMBOL = 256, 257
"""After a text and before it, beside its bytes. START is never predicted."""
SYMBOL_BITS = 9
OUTCOMES = 257

Codes = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class _Level:
    """Grams of one order: their codes, ascending, and counts; their contexts, ascending, and what each gives away."""

    grams: Codes
    counts: NDArray[np.float64]
    discounts: NDArray[np.float64]
    """Of a gram that was counted once, twice, more often; index 0 is of one that was not."""
    contexts: Codes
    totals: NDArray[np.float64]
    reserved: NDArray[np.float64]
    """What discounting took from the grams of the context, to be spread by the next lower order."""


class NGrams:
    """An interpolated byte model of order 5 with modified Kneser-Ney smoothing (Chen and Goodman 1999, 4.1.6).

    The highest order counts how often a gram occurs, each lower one after how many different symbols it does.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        """Counts the texts' bytes, and their ends."""
        codes = _codes(_symbols(texts))
        grams, counts = np.unique(codes, return_counts=True)
        levels = [_level(grams, counts)]
        for order in range(ORDER - 1, 0, -1):
            shorter = grams & np.uint64((1 << SYMBOL_BITS * order) - 1)
            grams, counts = np.unique(shorter, return_counts=True)
            levels.append(_level(grams, counts))
        self._levels = levels[::-1]

    def bits(self, texts: Iterable[str]) -> float:
        """The negative log2 probability of all texts together, that of their ends included."""
        codes = _codes(_symbols(texts))
        probability = np.full(len(codes), 1.0 / OUTCOMES)
        for order, level in enumerate(self._levels, start=1):
            grams = codes & np.uint64((1 << SYMBOL_BITS * order) - 1)
            probability = _interpolate(level, grams, probability)
        return float(-np.log2(probability).sum())


def _symbols(texts: Iterable[str]) -> NDArray[np.uint64]:
    """All texts one after another, each between START symbols, enough for a context, and END."""
    before = np.full(ORDER - 1, START_SYMBOL, dtype=np.uint64)
    after = np.array([END_SYMBOL], dtype=np.uint64)
    parts: list[NDArray[np.uint64]] = []
    for text in texts:
        parts += [before, np.frombuffer(text.encode(), dtype=np.uint8).astype(np.uint64), after]
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.uint64)


def _codes(symbols: NDArray[np.uint64]) -> Codes:
    """One number for each gram of the highest order that ends in a byte or END; the last symbol has the low bits."""
    codes = np.zeros(max(0, len(symbols) - ORDER + 1), dtype=np.uint64)
    for place in range(ORDER):
        codes = (codes << np.uint64(SYMBOL_BITS)) | symbols[place : place + len(codes)]
    predicted: Codes = codes[symbols[ORDER - 1 :] != START_SYMBOL]
    return predicted


def _level(grams: Codes, occurrences: NDArray[np.int64]) -> _Level:
    discounts = _discounts(occurrences)
    contexts, first = np.unique(grams >> np.uint64(SYMBOL_BITS), return_index=True)
    counts = occurrences.astype(np.float64)
    return _Level(
        grams=grams,
        counts=counts,
        discounts=discounts,
        contexts=contexts,
        totals=np.add.reduceat(counts, first),
        reserved=np.add.reduceat(discounts[np.minimum(occurrences, len(discounts) - 1)], first),
    )


def _discounts(occurrences: NDArray[np.int64]) -> NDArray[np.float64]:
    """What is taken from a count of 0, 1, 2, and of 3 and more (Chen and Goodman 1999, equation 26).

    Where too few grams are rare for the estimate, as of single bytes, one half of a count, and of one and more.
    """
    once, twice, thrice, four_times = (int((occurrences == count).sum()) for count in (1, 2, 3, 4))
    if not (once and twice and thrice):
        return np.array([0.0, 0.5, 0.5, 0.5])
    share = once / (once + 2 * twice)
    taken = (1 - 2 * share * twice / once, 2 - 3 * share * thrice / twice, 3 - 4 * share * four_times / thrice)
    return np.array([0.0, *(min(max(discount, 0.0), count) for count, discount in enumerate(taken, start=1))])


def _interpolate(level: _Level, grams: Codes, lower: NDArray[np.float64]) -> NDArray[np.float64]:
    """The probability of each gram's last symbol after the others, given that of the next lower order."""
    context, known = _find(level.contexts, grams >> np.uint64(SYMBOL_BITS))
    gram, counted = _find(level.grams, grams)
    counts = np.where(counted, level.counts[gram], 0.0)
    kept = counts - level.discounts[np.minimum(counts, len(level.discounts) - 1).astype(np.intp)]
    mixed = (kept + level.reserved[context] * lower) / level.totals[context]
    return np.where(known, mixed, lower)


def _find(table: Codes, wanted: Codes) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Where each code stands in the ascending table, and whether it does at all."""
    place = np.minimum(np.searchsorted(table, wanted), len(table) - 1)
    return place, table[place] == wanted
