"""Word vectors from co-occurrence counts: what the training texts say about their words without any label."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.utils.extmath import randomized_svd

# Neighbours up to this many tokens away count, each by one over its distance (Pennington et al. 2014, 3.1).
WINDOW = 5
# Context counts are raised to this power, so that rare contexts do not dominate (Levy et al. 2015, 3.2).
SMOOTHING = 0.75
# Singular values enter by their square root, the symmetric variant (Levy et al. 2015, 3.3).
SINGULAR_POWER = 0.5
# Below any probability: where nothing was counted, a division by it stays a number.
SMALLEST = 1e-300


def word_vectors(rows: Sequence[NDArray[np.int64]], vocabulary: int, width: int, seed: int) -> NDArray[np.float32]:
    """Factorises the positive pointwise mutual information of tokens: id rows -> (vocabulary, width), unit variance.

    Equivalent in spirit to skip-gram with negative sampling (Levy and Goldberg 2014). Tokens that never occur, and
    widths beyond the rank, get zeros.
    """
    counts = _cooccurrences(rows, vocabulary)
    information = _positive_information(counts)
    width_found = min(width, vocabulary - 1)
    left, singular, _ = randomized_svd(information, width_found, random_state=seed)
    vectors = np.zeros((vocabulary, width), dtype=np.float32)
    vectors[:, :width_found] = left * singular**SINGULAR_POWER
    spread = float(vectors.std())
    return vectors if spread == 0.0 else vectors / np.float32(spread)


def _cooccurrences(rows: Sequence[NDArray[np.int64]], vocabulary: int) -> sparse.csr_array:
    before: list[NDArray[np.int64]] = []
    after: list[NDArray[np.int64]] = []
    weight: list[NDArray[np.float64]] = []
    for row in rows:
        for distance in range(1, min(WINDOW, len(row) - 1) + 1):
            before.append(row[:-distance])
            after.append(row[distance:])
            weight.append(np.full(len(row) - distance, 1.0 / distance))
    if not before:
        return sparse.csr_array((vocabulary, vocabulary), dtype=np.float64)
    pairs = (np.concatenate(before), np.concatenate(after))
    one_way = sparse.coo_array((np.concatenate(weight), pairs), shape=(vocabulary, vocabulary)).tocsr()
    return (one_way + one_way.T).tocsr()


def _positive_information(counts: sparse.csr_array) -> sparse.csr_array:
    """Keeps log p(a,b) / (p(a) p(b)) where that is positive."""
    entries = counts.tocoo()
    total = max(float(entries.data.sum()), 1.0)
    word = np.asarray(counts.sum(axis=1)).ravel() / total
    context = word**SMOOTHING
    context = context / max(float(context.sum()), SMALLEST)
    rows, columns = entries.coords
    information = np.log(entries.data / total / (word[rows] * context[columns]))
    kept = information > 0
    return sparse.coo_array((information[kept], (rows[kept], columns[kept])), shape=counts.shape).tocsr()
