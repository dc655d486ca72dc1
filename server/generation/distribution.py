"""Scores over a vocabulary, many rows at once: their sums, their largest, what filters keep of them, and a draw.

Every function treats each row by itself and in the same order of additions, whatever rows stand beside it, so that a
row alone and a row in company give the same bits.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from server.generation.result import TopToken

Scores = NDArray[np.float32]

CELLS = 1 << 17
"""Scores that are worked on at once: half a MiB, which stays in a core's cache between the passes."""
BLOCK = 128
"""Weights that are summed before a draw looks into them."""
STRONG = np.float32(2.0**-10)
"""A weight, the largest being 1, below which top-p seldom has to look."""
DRAWS = 64
"""Uniform numbers that are made at once; a multiple of four, which is what one count of Philox gives."""


def chunks(rows: int, width: int) -> Iterator[slice]:
    """Slices of `rows` rows of `width` scores, each of about CELLS scores and of at least one row."""
    size = max(1, CELLS // width)
    return (slice(start, min(start + size, rows)) for start in range(0, rows, size))


def log_totals(scores: Scores, peaks: Scores) -> Scores:
    """The log of the sum of exp(score - peak) of each row: [n, V], [n] -> [n]. A peak that is not finite gives NaN."""
    rows, width = scores.shape
    totals = np.empty(rows, np.float32)
    scratch = np.empty((max(1, min(rows, CELLS // width)), width), np.float32)
    with np.errstate(invalid="ignore", over="ignore"):
        for part in chunks(rows, width):
            weights = scratch[: part.stop - part.start]
            np.subtract(scores[part], peaks[part, None], out=weights)
            np.exp(weights, out=weights)
            weights.sum(axis=1, out=totals[part])
        np.log(totals, out=totals)
    return totals


def log_softmax(logits: Scores) -> Scores:
    """Log probabilities [n, V] of logits [n, V]. A row with NaN or +inf, or with nothing finite, gives NaN."""
    peaks: Scores = logits.max(axis=1)
    with np.errstate(invalid="ignore"):
        scores = logits - peaks[:, None]
        scores -= log_totals(logits, peaks)[:, None]
    return scores


def largest(scores: Scores, count: int) -> NDArray[np.intp]:
    """Where the `count` largest of [V] stand, largest first, the lower index first among equals; no NaN."""
    count = min(count, scores.size)
    found = np.flatnonzero(scores >= _bound(scores[None], count)[0])
    return found[np.argsort(-scores[found], kind="stable")[:count]]


def top_tokens(scores: Scores, count: int, offset: float = 0.0) -> tuple[TopToken, ...]:
    """The `count` likeliest of [V] with their scores plus `offset`, likeliest first; impossible ones are left out."""
    found = [index for index in largest(scores, count).tolist() if scores[index] > -np.inf]
    return tuple(TopToken(index, float(scores[index]) + offset) for index in found)


def keep_top_k(scores: Scores, top_k: NDArray[np.int64]) -> None:
    """Sets to -inf, in place, what is below the k-th largest of its row: [n, V], [n]; 0 keeps all, equals are kept."""
    width = scores.shape[1]
    filtered = np.flatnonzero((top_k > 0) & (top_k < width))
    if not filtered.size:
        return
    mine, ranks = scores[filtered], top_k[filtered]
    candidates = _packed(mine, mine >= _bound(mine, int(ranks.max()))[:, None], -np.inf)
    candidates.sort(axis=1)
    least = candidates[np.arange(len(filtered)), candidates.shape[1] - ranks]
    mine[mine < least[:, None]] = -np.inf
    scores[filtered] = mine


def keep_likely(weights: Scores, top_p: NDArray[np.float64], min_p: Scores) -> None:
    """Sets to 0, in place, what top-p and min-p leave out: weights [n, V] whose largest is 1, [n], [n].

    top-p keeps the fewest of the largest weights that together reach `top_p` of the row's total, and what equals the
    last of them; 1 keeps all. min-p keeps weights of at least `min_p`; 0 keeps all.
    """
    least = min_p.astype(np.float32)
    filtered = np.flatnonzero(top_p < 1.0)
    if filtered.size:
        least[filtered] = np.maximum(least[filtered], _nucleus(weights[filtered], top_p[filtered]))
    if least.any():
        weights *= weights >= least[:, None]


def _nucleus(weights: Scores, top_p: NDArray[np.float64]) -> Scores:
    """The least weight that top-p keeps in each row."""
    goals = weights.sum(axis=1, dtype=np.float64)
    # Only what may be kept is sorted. Weights below (1 - p) / V of the total are together below 1 - p of it, so that
    # the others suffice (half, for rounding); mostly, those above STRONG suffice.
    floors = np.maximum(0.5 * (1.0 - top_p) * goals / weights.shape[1], np.finfo(np.float32).tiny)
    goals *= top_p
    enough = (weights * (weights >= STRONG)).sum(axis=1, dtype=np.float64) >= goals
    floors[enough] = np.maximum(floors[enough], STRONG)
    mask = weights >= floors.astype(np.float32)[:, None]
    candidates = _packed(weights, mask, 0.0)
    candidates = np.sort(candidates, axis=1)[:, ::-1]
    reached = np.cumsum(candidates, axis=1, dtype=np.float64)
    last = np.count_nonzero(reached < goals[:, None], axis=1)
    last = np.minimum(last, np.count_nonzero(mask, axis=1) - 1)
    least: Scores = candidates[np.arange(len(last)), last]
    return least


def draw(weights: Scores, uniforms: NDArray[np.float64]) -> NDArray[np.intp]:
    """An index of each row with probability in proportion to its weight: [n, V] and [n] in [0, 1) -> [n].

    The first index at which the sum of weights, in the order of indices and in float64, exceeds the uniform number's
    share of the total: a little change of the weights changes the index only where that share lies at a border.
    An index of weight 0 is never drawn; each row must have some weight above 0.
    """
    rows, width = weights.shape
    row = np.arange(rows)
    totals: NDArray[np.float64] = np.add.reduceat(weights, np.arange(0, width, BLOCK), axis=1, dtype=np.float64)
    reached: NDArray[np.float64] = np.cumsum(totals, axis=1)
    goals = (uniforms * reached[:, -1])[:, None]
    block = np.count_nonzero(reached <= goals, axis=1)
    before = np.where(block > 0, reached[row, block - 1], 0.0)[:, None]
    indices = block[:, None] * BLOCK + np.arange(BLOCK)
    window = weights[row[:, None], np.minimum(indices, width - 1)]
    window[indices >= width] = 0.0
    place = np.count_nonzero(before + np.cumsum(window, axis=1, dtype=np.float64) <= goals, axis=1)
    # The sum of a block taken at once, and one by one, may differ in the last bit.
    last = BLOCK - 1 - (window[:, ::-1] > 0.0).argmax(axis=1)
    drawn: NDArray[np.intp] = block * BLOCK + np.minimum(place, last)
    return drawn


def uniforms(seed: int, block: int) -> NDArray[np.float64]:
    """A request's uniform numbers in [0, 1) for the DRAWS steps from DRAWS * `block` on.

    Philox counts instead of carrying a state (Salmon et al. 2011), so that each block is made from nothing else.
    """
    bits = np.random.Philox(key=seed, counter=block * (DRAWS // 4)).random_raw(DRAWS)
    numbers: NDArray[np.float64] = np.multiply(bits >> np.uint64(11), 2.0**-53, dtype=np.float64)
    return numbers


def _bound(scores: Scores, count: int) -> Scores:
    """A score in each row that at least `count` of it reach, and few more: the count-th largest of group maxima."""
    rows, width = scores.shape
    groups = max(4 * count, 256)
    size = width // groups
    if size < 2:
        return np.full(rows, -np.inf, np.float32)
    groups = width // size
    peaks = scores[:, : size * groups].reshape(rows, size, groups).max(axis=1)
    peaks.partition(groups - count, axis=1)
    bound: Scores = peaks[:, groups - count]
    return bound


def _packed(scores: Scores, mask: NDArray[np.bool_], fill: float) -> Scores:
    """What the mask shows of each row, moved to the row's beginning, and `fill` behind it."""
    counts = np.count_nonzero(mask, axis=1)
    width = int(counts.max())
    packed = np.full((len(scores), width), fill, np.float32)
    packed[np.arange(width) < counts[:, None]] = scores[mask]
    return packed
