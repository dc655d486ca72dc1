"""Packed batches, by `server.packed` alone.

The server has its own collate and split. This is a second, simpler writing of the same contract: verification would
prove little if it packed with the code under test, and this one need not be fast.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from models.export.rows import Row
from server import packed
from server.manifest import InputSpec
from server.packed import PackedLayout
from server.tensors import Array


@dataclass(frozen=True)
class Padding:
    """What stands in a packed batch beyond its rows' own tokens."""

    tokens: int = 0
    rows: int = 0
    places: int = 0
    """Beyond the longest row, in a gathered batch."""


NO_PADDING = Padding()


@dataclass(frozen=True)
class _Token:
    row: int
    position: int
    """Where it stood in its row, hidden ones counted."""


def pack_rows(
    rows: Sequence[Row], inputs: Sequence[InputSpec], layout: PackedLayout, padding: Padding = NO_PADDING
) -> dict[str, Array]:
    """One packed batch of all rows, without the tokens that their masks hide; of padding, if that leaves none."""
    kept = [_real(row, inputs) for row in rows]
    tokens = [_Token(row, int(position)) for row, positions in enumerate(kept) for position in positions]
    padding = padding if tokens else replace(padding, tokens=max(1, padding.tokens))
    places = [token.position for token in tokens] + [0] * padding.tokens
    batch: dict[str, Array] = {packed.POSITIONS: np.array(places, dtype=np.int64)}
    for spec in inputs:
        if spec.role == "data":
            own = [row[spec.name][0, positions] for row, positions in zip(rows, kept, strict=True)]
            filled = np.full(padding.tokens, spec.pad, dtype=rows[0][spec.name].dtype)
            batch[spec.name] = np.concatenate([*own, filled])
    if layout == "block-diagonal":
        segments = [token.row for token in tokens] + [packed.NO_ROW] * padding.tokens
        batch[packed.SEGMENTS] = np.array(segments, dtype=np.int64)
        batch[packed.ROWS] = np.arange(len(rows) + padding.rows, dtype=np.int64)
        return batch
    return batch | _gathered([len(positions) for positions in kept], padding)


def packed_tokens(rows: Sequence[Row], inputs: Sequence[InputSpec]) -> int:
    """How many tokens these rows have that no mask hides."""
    return sum(len(_real(row, inputs)) for row in rows)


def _gathered(lengths: Sequence[int], padding: Padding) -> dict[str, Array]:
    shape = len(lengths) + padding.rows, max(1, *lengths) + padding.places
    gather, present = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.bool_)
    scatter: list[int] = []
    for row, length in enumerate(lengths):
        for place in range(length):
            gather[row, place] = len(scatter)
            present[row, place] = True
            scatter.append(row * shape[1] + place)
    scatter += [0] * padding.tokens
    return {
        packed.GATHER: gather,
        packed.PRESENT: present,
        packed.SCATTER: np.array(scatter, dtype=np.int64),
    }


def _real(row: Row, inputs: Sequence[InputSpec]) -> NDArray[np.int64]:
    """The positions of a row that its mask leaves; all, where the model has no mask."""
    for spec in inputs:
        if spec.role == "mask":
            return np.flatnonzero(row[spec.name][0])
    return np.arange(row[inputs[0].name].shape[1])
