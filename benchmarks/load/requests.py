"""The list of requests: made from a seed, so that every server under test gets the very same."""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.load.mixes import MIXES

Ids = NDArray[np.int64]
FIRST_ID = 1
"""Id 0 is padding."""


@dataclass(frozen=True, eq=False)
class RequestList:
    """Token ids of each request, [length]; sent in this order, over and over."""

    rows: tuple[Ids, ...]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each request."""
        return np.array([len(row) for row in self.rows], dtype=np.int64)

    def digest(self) -> str:
        """SHA-256 over all ids, in order."""
        digest = hashlib.sha256()
        for row in self.rows:
            digest.update(len(row).to_bytes(8, "little"))
            digest.update(row.astype("<i8").tobytes())
        return digest.hexdigest()


def request_list(mix: str, count: int, vocabulary: int, seed: int) -> RequestList:
    """`count` requests with the lengths of a mix and ids drawn evenly from the vocabulary.

    Raises KeyError for an unknown mix, ValueError for a count below one or a vocabulary without a token.
    """
    if count < 1 or vocabulary <= FIRST_ID:
        raise ValueError(f"{count} requests over a vocabulary of {vocabulary} cannot be made")
    rng = np.random.default_rng(seed)
    lengths = MIXES[mix].lengths(count, rng)
    return RequestList(tuple(rng.integers(FIRST_ID, vocabulary, size=length, dtype=np.int64) for length in lengths))
