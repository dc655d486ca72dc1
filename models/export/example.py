"""The example that the exporter traces, made from the signature alone.

Verification keeps clear of its sizes: a graph that is right only for the shape it was traced at must not pass.
"""

import torch
from torch import Tensor

from server.manifest import Axis, FixedAxis, FreeAxis, InputSpec, LengthAxis, RowAxis
from server.tensors import NUMPY_DTYPES, Datatype

# Above 1, because the exporter takes an axis of one for a constant; all different, because it may tie axes of equal
# size together. A second length axis is one longer than the first, and so on; likewise for free axes.
EXAMPLE_ROWS = 2
EXAMPLE_LENGTH = 7
EXAMPLE_FREE = 31

Dimension = torch.export.Dim


class _Dimensions:
    """Sizes and symbolic names for the dynamic axes; axes that must agree in size share both."""

    def __init__(self, length: int) -> None:
        self._length_of_first = length
        self._rows = Dimension("rows", min=1)
        self._lengths: dict[str, tuple[int, Dimension]] = {}
        self._free: dict[str, tuple[int, Dimension]] = {}

    def of(self, axis: Axis) -> tuple[int, Dimension | None]:
        """The size of an axis in the example, and its dimension unless it is fixed."""
        if isinstance(axis, FixedAxis):
            return axis.size, None
        if isinstance(axis, RowAxis):
            return EXAMPLE_ROWS, self._rows
        if isinstance(axis, LengthAxis):
            return self._length(axis)
        return self._free_axis(axis)

    def _length(self, axis: LengthAxis) -> tuple[int, Dimension]:
        if axis.name not in self._lengths:
            size = self._length_of_first + len(self._lengths)
            size = size if axis.max is None else min(size, axis.max)
            self._lengths[axis.name] = size, Dimension(axis.name, min=1, max=axis.max)
        return self._lengths[axis.name]

    def _free_axis(self, axis: FreeAxis) -> tuple[int, Dimension]:
        name = f"free_{len(self._free) + 1}" if axis.name is None else axis.name
        if name not in self._free:
            size = EXAMPLE_FREE + len(self._free)
            size = size if axis.max is None else min(size, axis.max)
            self._free[name] = size, Dimension(name, min=1, max=axis.max)
        return self._free[name]


def example_inputs(
    inputs: tuple[InputSpec, ...], length: int | None = None
) -> tuple[tuple[Tensor, ...], tuple[dict[int, Dimension], ...]]:
    """A tensor for each input, and by position which of its axes are dynamic, in the signature's order.

    `length` is that of the first length axis, as far as its bound allows; None: `EXAMPLE_LENGTH`.
    """
    dimensions = _Dimensions(EXAMPLE_LENGTH if length is None else length)
    tensors: list[Tensor] = []
    dynamic: list[dict[int, Dimension]] = []
    for spec in inputs:
        sizes = [dimensions.of(axis) for axis in spec.axes]
        tensors.append(_content(spec, [size for size, _ in sizes]))
        dynamic.append({position: dim for position, (_, dim) in enumerate(sizes) if dim is not None})
    return tuple(tensors), tuple(dynamic)


def _content(spec: InputSpec, shape: list[int]) -> Tensor:
    """Masks are true and whole numbers zero, which is valid as an id anywhere; the trace does not read them."""
    if spec.datatype in (Datatype.BYTES, Datatype.BF16):
        raise ValueError(f"input {spec.name} is {spec.datatype}, which a network cannot take")
    dtype = torch.from_numpy(NUMPY_DTYPES[spec.datatype].type(0).reshape(1)).dtype
    if dtype.is_floating_point:
        return torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    return torch.ones(shape, dtype=dtype) if spec.role == "mask" else torch.zeros(shape, dtype=dtype)
