"""Rows and padded batches, by the axes in the manifest alone.

The server has its own collate and split. This is a second, simpler writing of the same contract: verification would
prove little if it padded with the code under test, and this one need not be fast.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from server.manifest import Axis, InputSpec, LengthAxis, OutputSpec
from server.tensors import Array

Row = Mapping[str, Array]
"""One row by input or output name; every array has a leading row axis of 1."""


def row_lengths(row: Row, inputs: Sequence[InputSpec]) -> dict[str, int]:
    """The size of each length axis of a row, or of a padded batch of rows, by the axis' name."""
    return {
        axis.name: size
        for spec in inputs
        for axis, size in zip(spec.axes, row[spec.name].shape, strict=True)
        if isinstance(axis, LengthAxis)
    }


def pad_rows(rows: Sequence[Row], inputs: Sequence[InputSpec]) -> dict[str, Array]:
    """One batch of all rows: length axes filled with the input's pad value up to the longest row."""
    return {spec.name: _pad_input([row[spec.name] for row in rows], spec) for spec in inputs}


def crop_row(
    batch: Mapping[str, Array], index: int, outputs: Sequence[OutputSpec], lengths: Mapping[str, int]
) -> dict[str, Array]:
    """The answer for one row of a batch, its length axes cut back to the row's own lengths."""
    return {
        spec.name: batch[spec.name][(slice(index, index + 1), *(_kept(axis, lengths) for axis in spec.axes[1:]))]
        for spec in outputs
    }


def _pad_input(arrays: Sequence[Array], spec: InputSpec) -> Array:
    sizes = [max(array.shape[position] for array in arrays) for position in range(len(spec.axes))]
    padded = []
    for array in arrays:
        missing = [
            (0, size - array.shape[position] if isinstance(axis, LengthAxis) else 0)
            for position, (axis, size) in enumerate(zip(spec.axes, sizes, strict=True))
        ]
        padded.append(np.pad(array, missing, constant_values=spec.pad))
    return np.concatenate(padded, axis=0)


def _kept(axis: Axis, lengths: Mapping[str, int]) -> slice:
    return slice(lengths[axis.name]) if isinstance(axis, LengthAxis) else slice(None)
