"""Triton's classification extension: the largest scores of each row as text, `score:index` or `score:index:label`."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from server.tensors import Array


def top_classes(scores: Array, count: int, labels: Sequence[str], *, batched: bool) -> NDArray[np.object_]:
    """(B, ...) or (...) of numbers -> (B, k) or (k,) of bytes, falling by score, equal scores by index.

    k is the smaller of `count` and the classes in a row; a row's axes count as one. Labels are named only where there
    is one for each class.
    """
    rows = scores.reshape(scores.shape[0], -1) if batched else scores.reshape(1, -1)
    named = labels if len(labels) == rows.shape[1] else ()
    found = np.array([_row(row, count, named) for row in rows], dtype=np.object_)
    return found.reshape(len(rows), -1) if batched else found.reshape(-1)


def _row(scores: Array, count: int, labels: Sequence[str]) -> list[bytes]:
    values = scores.astype(np.float64)
    chosen = np.argsort(-values, kind="stable")[:count]
    return [
        (f"{values[index]:f}:{index}" + (f":{labels[index]}" if labels else "")).encode() for index in chosen.tolist()
    ]
