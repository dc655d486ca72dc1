"""Rows to measure with: the bundle's golden rows stretched to any length, or made-up ones where there are none."""

from collections.abc import Mapping, Sequence

import numpy as np

from server.batching.request import Rows
from server.manifest import Axis, InputSpec, LengthAxis, Manifest
from server.runtime.golden import GoldenRow
from server.tensors import NUMPY_DTYPES, Array, Datatype, cast, element

USUAL_LENGTH = 128
"""The longest length to measure at where the manifest has no bound."""
USUAL_SIZE = 16
"""Of axes of any size."""
SEED = 0


class Samples:
    """Makes rows of any number and length that the model takes."""

    def __init__(self, manifest: Manifest, golden: Sequence[GoldenRow] = ()) -> None:
        self._manifest = manifest
        free = [_free_sizes(manifest, row) for row in golden]
        # Rows of other sizes along axes that must not be padded could not share a run with the first.
        self._golden = tuple(row for row, sizes in zip(golden, free, strict=True) if sizes == free[0])
        self._rng = np.random.default_rng(SEED)

    @property
    def longest(self) -> int:
        """The longest length to measure at; 1 where nothing has a length."""
        axes = [axis for spec in self._manifest.inputs for axis in spec.axes if isinstance(axis, LengthAxis)]
        if not axes:
            return 1
        return min(axis.max or USUAL_LENGTH for axis in axes)

    def rows(self, count: int, length: int, outputs: Sequence[str], first: int = 0) -> Rows:
        """So many rows, all of this length, from the golden row `first` on, repeated where those are too short."""
        chosen = [self._row(first + number, length) for number in range(count)]
        inputs = {
            spec.name: np.concatenate([row[spec.name] for row in chosen])
            if spec.axes and spec.axes[0].kind == "row"
            else chosen[0][spec.name]
            for spec in self._manifest.inputs
        }
        names = {axis.name for spec in self._manifest.inputs for axis in spec.axes if isinstance(axis, LengthAxis)}
        return Rows(inputs=inputs, outputs=tuple(outputs), rows=count, lengths=dict.fromkeys(names, length))

    def _row(self, number: int, length: int) -> dict[str, Array]:
        golden = self._golden[number % len(self._golden)].inputs if self._golden else {}
        return {spec.name: self._input(spec, golden, length) for spec in self._manifest.inputs}

    def _input(self, spec: InputSpec, golden: Mapping[str, Array], length: int) -> Array:
        if spec.role == "mask" or spec.name not in golden:
            return self._made_up(spec, length)
        array = golden[spec.name]
        for position, axis in enumerate(spec.axes):
            if isinstance(axis, LengthAxis):
                places = np.arange(length) % array.shape[position]
                array = np.take(array, places, axis=position)
        return array

    def _made_up(self, spec: InputSpec, length: int) -> Array:
        shape = tuple(_size(axis, length) for axis in spec.axes)
        if spec.datatype is Datatype.BYTES:
            return np.full(shape, b"a", dtype=np.object_)
        if spec.role == "mask":
            return np.full(shape, element(1, spec.datatype))
        if NUMPY_DTYPES[spec.datatype].kind == "f" or spec.datatype is Datatype.BF16:
            return cast(self._rng.standard_normal(shape), spec.datatype)
        # Small numbers are tokens of every vocabulary, and not all the same, so that rows differ.
        return cast(self._rng.integers(0, 2, shape), spec.datatype)


def _size(axis: Axis, length: int) -> int:
    if axis.kind == "row":
        return 1
    if axis.kind == "length":
        return length
    if axis.kind == "fixed":
        return axis.size
    return min(axis.max or USUAL_SIZE, USUAL_SIZE)


def _free_sizes(manifest: Manifest, row: GoldenRow) -> list[int]:
    return [
        size
        for spec in manifest.inputs
        if spec.name in row.inputs
        for axis, size in zip(spec.axes, row.inputs[spec.name].shape, strict=False)
        if axis.kind == "free"
    ]
