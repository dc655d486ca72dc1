"""Builds a batch from requests by the manifest's axes, and undoes it: split(run(collate(x))) gives each its own."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from server.batching.request import Request
from server.manifest import Axis, InputSpec, OutputSpec
from server.tensors import Array, element


def collate(requests: Sequence[Request], specs: Sequence[InputSpec]) -> dict[str, Array]:
    """Stacks the requests' rows, padding each length axis to the longest of the batch.

    A single request passes through untouched, without a copy.
    """
    if len(requests) == 1:
        return dict(requests[0].inputs)
    return {spec.name: _stack([request.inputs[spec.name] for request in requests], spec) for spec in specs}


def _stack(arrays: Sequence[Array], spec: InputSpec) -> Array:
    shapes = {array.shape[1:] for array in arrays}
    if len(shapes) == 1:
        return np.concatenate(arrays)
    rows = sum(array.shape[0] for array in arrays)
    largest = tuple(max(sizes) for sizes in zip(*shapes, strict=True))
    batch = np.full((rows, *largest), element(spec.pad, spec.datatype), dtype=arrays[0].dtype)
    start = 0
    for array in arrays:
        stop = start + array.shape[0]
        batch[(slice(start, stop), *(slice(size) for size in array.shape[1:]))] = array
        start = stop
    return batch


def split(
    outputs: Mapping[str, Array], requests: Sequence[Request], specs: Mapping[str, OutputSpec]
) -> Iterator[dict[str, Array]]:
    """Yields each request's rows of every output, cropped along length axes to the request's own lengths.

    What is cropped is copied, so that a small answer does not keep a large batch in memory.
    Raises ValueError where an output has not one row for each row of the batch.
    """
    rows = sum(request.rows for request in requests)
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
            own[name] = _crop(array, specs[name].axes, request.lengths) if len(requests) > 1 else array
        yield own
        start = stop


def _crop(array: Array, axes: Sequence[Axis], lengths: Mapping[str, int]) -> Array:
    """A contiguous copy of the part of `array` that is the request's own."""
    index = tuple(
        slice(lengths[axis.name]) if axis.kind == "length" and axis.name in lengths else slice(None) for axis in axes
    )
    return array[index].copy()
