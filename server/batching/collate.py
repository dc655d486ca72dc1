"""Rows padded to the longest: builds such a batch from requests by the manifest's axes, and undoes it."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from server.batching.cost import Work
from server.batching.lattice import Lattice
from server.batching.layout import Layout
from server.batching.request import Rows
from server.manifest import Axis, InputSpec, OutputSpec
from server.tensors import Array, element


class PaddedRows(Layout):
    """Each row padded along its length axes to the longest of the batch, or to the lattice above it."""

    name = "rows"
    orders_by_length = True

    def __init__(
        self,
        inputs: Sequence[InputSpec],
        outputs: Sequence[OutputSpec],
        lattice: Lattice | None = None,
        row_lattice: Lattice | None = None,
    ) -> None:
        self._inputs = tuple((spec, element(spec.pad, spec.datatype)) for spec in inputs)
        self._outputs = {spec.name: spec for spec in outputs}
        self.lattice = lattice or Lattice.exact()
        self.row_lattice = row_lattice or Lattice.exact()

    def work(self, rows: int, tokens: int, longest: int) -> Work:
        """As `Layout.work`; `tokens` do not matter, since every row is as long as the longest."""
        rows, longest = self.row_lattice.up(rows), self.lattice.up(longest)
        return Work(rows, rows * longest, rows * longest * longest)

    def collate(self, requests: Sequence[Rows]) -> dict[str, Array]:
        """Stacks the requests' rows; what fits as it is passes through untouched, without a copy."""
        rows = self.row_lattice.up(sum(request.rows for request in requests))
        return {
            spec.name: _stack([request.inputs[spec.name] for request in requests], spec.axes, pad, rows, self.lattice)
            for spec, pad in self._inputs
        }

    def split(self, outputs: Mapping[str, Array], requests: Sequence[Rows]) -> Iterator[dict[str, Array]]:
        """Yields each request's rows of every output, cropped along length axes to the request's own lengths."""
        padded_rows = self.row_lattice.up(sum(request.rows for request in requests))
        return split(outputs, requests, self._outputs, padded_rows)


def _stack(arrays: Sequence[Array], axes: Sequence[Axis], pad: object, rows: int, lattice: Lattice) -> Array:
    if not axes or axes[0].kind != "row":
        return arrays[0]  # without a row axis there is never a second request
    largest = tuple(
        lattice.up(max(sizes)) if axis.kind == "length" else max(sizes)
        for axis, sizes in zip(axes[1:], zip(*(array.shape[1:] for array in arrays), strict=True), strict=True)
    )
    if all(array.shape[1:] == largest for array in arrays) and sum(array.shape[0] for array in arrays) == rows:
        return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
    batch = np.full((rows, *largest), pad, dtype=arrays[0].dtype)
    start = 0
    for array in arrays:
        stop = start + array.shape[0]
        batch[(slice(start, stop), *(slice(size) for size in array.shape[1:]))] = array
        start = stop
    return batch


def split(
    outputs: Mapping[str, Array], requests: Sequence[Rows], specs: Mapping[str, OutputSpec], rows: int
) -> Iterator[dict[str, Array]]:
    """Yields each request's rows of every output of `rows` rows, of which those beyond the requests' are padding.

    Length axes are cropped to the request's own lengths. What is a part is copied, so that a small answer does not
    keep a large batch in memory.
    Raises ValueError where an output has not `rows` rows.
    """
    batched = {name for name in outputs if specs[name].axes and specs[name].axes[0].kind == "row"}
    for name in batched:
        if outputs[name].shape[:1] != (rows,):
            raise ValueError(f"output {name!r} has shape {outputs[name].shape} for {rows} rows")
    start = 0
    for request in requests:
        stop = start + request.rows
        own: dict[str, Array] = {}
        for name in request.outputs:
            array = outputs[name][start:stop] if name in batched else outputs[name]
            own[name] = _own(array, outputs[name], specs[name].axes, request.lengths)
        yield own
        start = stop


def _own(part: Array, whole: Array, axes: Sequence[Axis], lengths: Mapping[str, int]) -> Array:
    """The request's own elements: the whole output itself where it is all of it, else a contiguous copy."""
    index = tuple(
        slice(lengths[axis.name]) if axis.kind == "length" and axis.name in lengths else slice(None) for axis in axes
    )
    cropped = part[index]
    return whole if cropped.shape == whole.shape else cropped.copy()
