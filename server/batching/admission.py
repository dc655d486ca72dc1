"""Holds a request against the model's signature, before any work is done."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from server.errors import (
    EmptyInput,
    ParameterInvalid,
    PayloadTooLarge,
    RowLimitExceeded,
    SequenceTooLong,
    SignatureMismatch,
)
from server.manifest import Axis, FreeAxis, InputSpec, Manifest
from server.tensors import NUMPY_DTYPES, Array, Datatype, Tensor, cast, element

MAX_FILL_BYTES = 64 * 1024**2
"""The most bytes that an absent optional input is filled up to, where nobody says otherwise."""

MAX_REMEMBERED = 1024
"""Shapes of absent inputs, and choices of outputs, that are remembered from request to request."""
MAX_REMEMBERED_BYTES = 4096
"""A larger filled array is made anew each time."""


@dataclass(frozen=True, slots=True, eq=False)
class Admitted:
    """Inputs that fit the signature: every input present, the same rows and lengths everywhere."""

    inputs: Mapping[str, Array]
    outputs: tuple[str, ...]
    rows: int
    lengths: Mapping[str, int]
    group: tuple[object, ...]
    masked: bool
    """Whether the caller sent a mask."""


class _Sizes:
    """Collects the sizes of rows, named lengths and free axes while the inputs are walked."""

    def __init__(self) -> None:
        self.rows: int | None = None
        self.lengths: dict[str, int] = {}
        self.free: list[int] = []
        self.named: dict[str, int] = {}

    def take(self, spec: InputSpec, position: int, axis: Axis, size: int) -> None:
        """Raises SignatureMismatch, EmptyInput, SequenceTooLong or PayloadTooLarge where `size` does not fit."""
        where = f"input {spec.name!r}, axis {position}"
        if axis.kind == "fixed":
            if size != axis.size:
                raise SignatureMismatch(f"{where}: expected size {axis.size}, got {size}")
            return
        if size == 0:
            raise EmptyInput(f"{where}: size 0; there is nothing to compute on")
        if axis.kind == "row":
            if self.rows not in (None, size):
                raise SignatureMismatch(f"{where}: {size} rows, other inputs have {self.rows}")
            self.rows = size
        elif axis.kind == "length":
            if axis.max is not None and size > axis.max:
                raise SequenceTooLong(
                    f"{where}: length {size} is over the model's {axis.max}",
                    {"length": str(size), "max_length": str(axis.max)},
                )
            if self.lengths.setdefault(axis.name, size) != size:
                raise SignatureMismatch(
                    f"{where}: length {size}, other inputs have {self.lengths[axis.name]} for {axis.name!r}"
                )
        else:
            self._take_free(where, axis, size)

    def _take_free(self, where: str, axis: FreeAxis, size: int) -> None:
        if axis.max is not None and size > axis.max:
            raise PayloadTooLarge(
                f"{where}: size {size} is over the model's {axis.max}", {"size": str(size), "max_size": str(axis.max)}
            )
        if axis.name is not None and self.named.setdefault(axis.name, size) != size:
            raise SignatureMismatch(
                f"{where}: size {size}, other inputs have {self.named[axis.name]} for {axis.name!r}"
            )
        self.free.append(size)


class Admission:
    """One model's signature, prepared once so that holding a request against it costs little."""

    def __init__(self, manifest: Manifest, max_rows: int, max_fill_bytes: int = MAX_FILL_BYTES) -> None:
        self._specs = manifest.inputs
        self._names = frozenset(spec.name for spec in manifest.inputs)
        self._required = frozenset(spec.name for spec in manifest.inputs if not spec.optional)
        self._masks = frozenset(spec.name for spec in manifest.inputs if spec.role == "mask")
        self._outputs = [spec.name for spec in manifest.outputs]
        self._max_rows = max_rows
        self._max_fill_bytes = max_fill_bytes
        self._fills = {
            spec.name: element(1 if spec.role == "mask" else spec.pad, spec.datatype) for spec in manifest.inputs
        }
        self._filled: dict[tuple[str, tuple[int, ...]], Array] = {}
        self._asked: dict[tuple[str, ...], frozenset[str]] = {}

    def admit(self, inputs: Mapping[str, Tensor], outputs: Sequence[str]) -> Admitted:
        """Checks names, datatypes, ranks, sizes and row count, and fills in absent optional inputs.

        Raises SignatureMismatch, ParameterInvalid (an output named twice), EmptyInput, SequenceTooLong,
        RowLimitExceeded, or PayloadTooLarge where a free axis is over its bound or an absent input would take more than
        `max_fill_bytes`; the message names the tensor, what was expected and what came.
        """
        if not (self._required <= inputs.keys() <= self._names):
            self._refuse_names(inputs)
        named = tuple(outputs)
        asked = self._asked.get(named) or self._check_outputs(named)
        sizes = _Sizes()
        arrays: dict[str, Array] = {}
        for spec in self._specs:
            tensor = inputs.get(spec.name)
            if tensor is None:
                continue
            array = _typed(spec, tensor)
            if array.ndim != len(spec.axes):
                raise SignatureMismatch(f"input {spec.name!r}: expected rank {len(spec.axes)}, got shape {array.shape}")
            for position, (axis, size) in enumerate(zip(spec.axes, array.shape, strict=True)):
                sizes.take(spec, position, axis, size)
            arrays[spec.name] = array
        rows = sizes.rows if sizes.rows is not None else 1
        if rows > self._max_rows:
            raise RowLimitExceeded(
                f"{rows} rows in one request; the model takes {self._max_rows}: split the request",
                {"rows": str(rows), "max_rows": str(self._max_rows)},
            )
        masked = not self._masks.isdisjoint(arrays)
        if len(arrays) < len(self._specs):
            for spec in self._specs:
                if spec.name not in arrays:
                    arrays[spec.name] = self._fill(spec, rows, sizes.lengths)
        return Admitted(arrays, named, rows, sizes.lengths, (*sizes.free, asked), masked)

    def _refuse_names(self, inputs: Mapping[str, Tensor]) -> None:
        expected = ", ".join(spec.name for spec in self._specs)
        for name in inputs:
            if name not in self._names:
                raise SignatureMismatch(f"unknown input {_shown(name)}; the model takes {expected}")
        missing = [spec.name for spec in self._specs if spec.name not in inputs and not spec.optional]
        raise SignatureMismatch(f"missing input {', '.join(missing)}; the model takes {expected}")

    def _check_outputs(self, outputs: tuple[str, ...]) -> frozenset[str]:
        for name in outputs:
            if name not in self._outputs:
                known = ", ".join(self._outputs)
                raise SignatureMismatch(f"unknown output {_shown(name)}; the model gives {known}")
        asked = frozenset(outputs)
        if len(asked) != len(outputs):
            raise ParameterInvalid("an output is asked for twice")
        if len(self._asked) < MAX_REMEMBERED:
            self._asked[outputs] = asked
        return asked

    def _fill(self, spec: InputSpec, rows: int, lengths: Mapping[str, int]) -> Array:
        """What an absent optional input stands for: a mask of ones over the whole length, other inputs their padding.

        The same array, which nobody may write to, for requests of the same shape.
        """
        shape: list[int] = []
        for axis in spec.axes:
            if axis.kind == "row":
                shape.append(rows)
            elif axis.kind == "fixed":
                shape.append(axis.size)
            elif axis.kind == "length" and axis.name in lengths:
                shape.append(lengths[axis.name])
            else:
                raise SignatureMismatch(f"missing input {spec.name!r}: its shape does not follow from the other inputs")
        key = (spec.name, tuple(shape))
        filled = self._filled.get(key)
        if filled is not None:
            return filled
        dtype = NUMPY_DTYPES[spec.datatype]
        size = math.prod(shape) * dtype.itemsize
        if size > self._max_fill_bytes:
            raise PayloadTooLarge(
                f"missing input {spec.name!r} would be filled up to {size} bytes, over the limit of "
                f"{self._max_fill_bytes}",
                {"bytes": str(size), "max_bytes": str(self._max_fill_bytes)},
            )
        filled = np.full(shape, self._fills[spec.name], dtype=dtype)
        filled.flags.writeable = False
        if size <= MAX_REMEMBERED_BYTES and len(self._filled) < MAX_REMEMBERED:
            self._filled[key] = filled
        return filled


def _typed(spec: InputSpec, tensor: Tensor) -> Array:
    """The array in the signature's datatype; a mask may come as BOOL where the graph counts in integers."""
    if tensor.datatype is spec.datatype:
        return tensor.array
    if spec.role == "mask" and tensor.datatype is Datatype.BOOL:
        return cast(tensor.array, spec.datatype)
    raise SignatureMismatch(f"input {spec.name!r}: expected {spec.datatype}, got {tensor.datatype}")


def _shown(name: str) -> str:
    """A caller's name, short enough for a message."""
    return repr(name if len(name) <= 64 else name[:61] + "...")
