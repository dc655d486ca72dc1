"""Mixes of lengths, fixed here so that every run and every server gets the same."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

LONGEST = 256
"""Tokens of the longest request of any mix."""

Lengths = NDArray[np.int64]
Share = NDArray[np.float64]


@dataclass(frozen=True)
class Mix:
    """A distribution of lengths in tokens."""

    name: str
    description: str
    quantile: Callable[[Share], Share]
    """The length below which a share of the requests lies."""

    def lengths(self, count: int, rng: np.random.Generator) -> Lengths:
        """`count` lengths in random order.

        They are the distribution's own quantiles, evenly spaced: every list has the same statistics, and only the order
        is left to chance.
        """
        shares = (np.arange(count) + 0.5) / count
        lengths: Lengths = np.maximum(1, np.rint(self.quantile(shares))).astype(np.int64)
        return rng.permutation(lengths)


def _log_normal(median: float, p95: float, longest: float) -> Callable[[Share], Share]:
    normal = NormalDist()
    sigma = math.log(p95 / median) / normal.inv_cdf(0.95)

    def quantile(shares: Share) -> Share:
        normals = np.array([normal.inv_cdf(share) for share in shares])
        return np.minimum(median * np.exp(sigma * normals), longest)

    return quantile


def _uniform(shortest: float, longest: float) -> Callable[[Share], Share]:
    return lambda shares: shortest + (longest - shortest) * shares


MIXES: Mapping[str, Mix] = {
    mix.name: mix
    for mix in (
        Mix("mixed", "log-normal, median 24, p95 128, longest 256 tokens", _log_normal(24, 128, LONGEST)),
        Mix("short", "uniform, 4 to 16 tokens", _uniform(4, 16)),
        Mix("long", "uniform, 128 to 256 tokens", _uniform(128, LONGEST)),
        Mix("sixteen", "16 tokens each", _uniform(16, 16)),
    )
}
