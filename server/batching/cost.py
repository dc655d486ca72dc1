"""What a run costs, fitted to measurements and corrected by every run since.

    seconds = fixed + row·rows + token·tokens + pair·pairs

`tokens` go through the dense layers, padding included; `pairs` are what attention computes: rows·length² where rows are
padded to one length, tokens² where all tokens attend to all under a block-diagonal mask. A model without a length has
one token a row.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

SIZE_CLASSES = 24
"""Corrections are kept by the power of two that the number of tokens lies below; the last takes all above."""
CORRECTION_BOUNDS = (0.25, 4.0)
LEARNING_RATE = 0.02
"""What one run moves the correction of its size by: some hundred runs to follow a change, and no jump from one."""


@dataclass(frozen=True, slots=True)
class Work:
    """The size of one run, as the cost model counts it."""

    rows: int
    tokens: int
    pairs: int


@dataclass(frozen=True, slots=True)
class Measurement:
    """What a run of this size took: core-seconds of one thread, or seconds where a run has threads of its own."""

    work: Work
    seconds: float


@dataclass(frozen=True, slots=True)
class Coefficients:
    """Seconds a run, a row, a token and a pair; none is negative."""

    fixed_s: float
    row_s: float
    token_s: float
    pair_s: float

    def seconds(self, work: Work) -> float:
        """The fitted cost of a run."""
        return self.fixed_s + self.row_s * work.rows + self.token_s * work.tokens + self.pair_s * work.pairs


ROUGH = Coefficients(fixed_s=1e-3, row_s=0.0, token_s=2e-5, pair_s=0.0)
"""Where nothing was measured: a run costs as much as fifty tokens, so that joining pays unless it is mostly padding."""


def fit(measurements: Sequence[Measurement]) -> Coefficients:
    """The coefficients, none negative, with the least relative squared error.

    Relative, because a small run that is predicted wrongly costs as much as a large one. With at most four
    coefficients, trying every set of them that may be other than zero is exact and quick.
    Raises ValueError where there is no measurement, or one that is not positive and finite.
    """
    if not measurements or not all(math.isfinite(one.seconds) and one.seconds > 0 for one in measurements):
        raise ValueError("a cost model needs measurements, each of a positive time")
    seconds = np.array([one.seconds for one in measurements])
    design = np.array([[1.0, one.work.rows, one.work.tokens, one.work.pairs] for one in measurements])
    weighted = design / seconds[:, None]
    wanted = np.ones(len(seconds))
    best, least = np.zeros(4), math.inf
    for size in range(1, 5):
        for chosen in combinations(range(4), size):
            columns = list(chosen)
            scale = np.abs(weighted[:, columns]).max(axis=0)
            solution, *_ = np.linalg.lstsq(weighted[:, columns] / scale, wanted, rcond=None)
            if (solution < 0).any():
                continue
            found = np.zeros(4)
            found[columns] = solution / scale
            error = float(((weighted @ found - wanted) ** 2).sum())
            # A further coefficient must earn its place: with few points it would only follow their noise.
            if error < least * 0.98 - 1e-12:
                best, least = found, error
    fixed, row, token, pair = best.tolist()
    return Coefficients(fixed, row, token, pair)


def size_class(tokens: int) -> int:
    """The class of sizes that a run belongs to."""
    return min(tokens.bit_length(), SIZE_CLASSES - 1)


@dataclass(eq=False, slots=True)
class Cost:
    """A fitted model with a correction for each class of sizes; read and refined on the event loop's thread."""

    coefficients: Coefficients
    measurements: tuple[Measurement, ...] = ()
    """What the fit rests on; empty where nothing was measured."""
    observed_runs: int = 0
    _corrections: list[float] = field(default_factory=lambda: [1.0] * SIZE_CLASSES)

    @classmethod
    def measured(cls, measurements: Iterable[Measurement]) -> "Cost":
        """Fits, and starts the corrections at what the fit misses in each class. Raises ValueError as `fit` does."""
        taken = tuple(measurements)
        cost = cls(fit(taken), taken)
        missed: dict[int, list[float]] = {}
        for one in taken:
            missed.setdefault(size_class(one.work.tokens), []).append(one.seconds / cost.coefficients.seconds(one.work))
        if missed:
            known = sorted(missed)
            for number in range(SIZE_CLASSES):
                nearest = min(known, key=lambda other: abs(other - number))
                ratios = missed[nearest]
                cost._corrections[number] = _bounded(sum(ratios) / len(ratios))
        return cost

    @property
    def corrections(self) -> tuple[float, ...]:
        """The factors by class of sizes."""
        return tuple(self._corrections)

    def seconds(self, work: Work) -> float:
        """The predicted cost of a run."""
        return self.coefficients.seconds(work) * self._corrections[size_class(work.tokens)]

    def observe(self, work: Work, seconds: float) -> None:
        """Learns from a run; one that took no time or an absurd one, as when a clock jumps, moves little."""
        predicted = self.coefficients.seconds(work)
        if not math.isfinite(seconds) or seconds <= 0 or predicted <= 0:
            return
        number = size_class(work.tokens)
        old = self._corrections[number]
        self._corrections[number] = old + LEARNING_RATE * (_bounded(seconds / predicted) - old)
        self.observed_runs += 1


def _bounded(factor: float) -> float:
    low, high = CORRECTION_BOUNDS
    return min(high, max(low, factor))
