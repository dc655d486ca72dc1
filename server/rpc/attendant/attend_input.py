"""One input of Attend, from the message to tensors that fit the mechanism's signature.

Everything is checked here, before any input of the call is computed, in words that name the tensor as the caller did.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from attendant.v1 import attend_pb2 as wire

from server.errors import EmptyInput, MalformedTensor, PayloadTooLarge, SequenceTooLong, SignatureMismatch
from server.manifest import Axis, FreeAxis, InputSpec, LengthAxis, Manifest
from server.rpc.addressing import shown
from server.tensors import NUMPY_DTYPES, Array, Datatype, Tensor

QUERY, KEY, VALUE, MASK = FIELDS = ("query", "key", "value", "mask")
"""The tensors that have a field of their own; the manifest's inputs of these names are meant."""


@dataclass(frozen=True, slots=True, eq=False)
class AttendInput:
    """Tensors with a leading row axis of 1, by input name, and the size of each axis that has a name."""

    tensors: Mapping[str, Tensor]
    sizes: Mapping[str, int]


def read_input(manifest: Manifest, item: wire.AttendInput, max_tensor_bytes: int) -> AttendInput:
    """Reads and checks one input.

    Raises SignatureMismatch for a tensor that is missing, unknown, or of sizes that do not fit; PayloadTooLarge for one
    over `max_tensor_bytes` or too wide; MalformedTensor for bytes that do not fill the shape, or numbers that are not
    finite; EmptyInput for an axis of size 0; SequenceTooLong.
    """
    given = _given(item)
    _check_names(manifest, given)
    sizes = _Sizes()
    tensors: dict[str, Tensor] = {}
    for spec in manifest.inputs:
        if spec.name in given:
            array = _array(spec, given[spec.name], max_tensor_bytes)
            for axis, size in zip(spec.axes[1:], array.shape, strict=True):
                sizes.take(spec.name, array.shape, axis, size)
            _check_finite(spec, array)
            tensors[spec.name] = Tensor(spec.datatype, array[np.newaxis])
    return AttendInput(tensors, sizes.by_name)


class _Sizes:
    """Collects the sizes of the named axes, and who brought them."""

    def __init__(self) -> None:
        self.by_name: dict[str, int] = {}
        self._first: dict[str, str] = {}

    def take(self, tensor: str, shape: tuple[int, ...], axis: Axis, size: int) -> None:
        """Raises as `read_input` does where an axis of `tensor` does not fit."""
        where = f"{tensor} of shape {list(shape)}"
        if size == 0:
            raise EmptyInput(f"{where} is empty: there is nothing to compute on")
        if axis.kind == "fixed":
            if size != axis.size:
                raise SignatureMismatch(f"{where}: an axis of size {axis.size} is {size} long")
            return
        if axis.kind == "row" or axis.name is None:
            return
        if axis.max is not None and size > axis.max:
            self._refuse(f"{where} has {_counted(axis, size)}; the mechanism takes at most {axis.max}", axis, size)
        if self.by_name.setdefault(axis.name, size) != size:
            raise SignatureMismatch(
                f"{where} has {_counted(axis, size)}, but {self._first[axis.name]} has {self.by_name[axis.name]}"
            )
        self._first.setdefault(axis.name, tensor)

    @staticmethod
    def _refuse(message: str, axis: LengthAxis | FreeAxis, size: int) -> None:
        if axis.kind == "length":
            raise SequenceTooLong(message, {"length": str(size), "max_length": str(axis.max)})
        raise PayloadTooLarge(message, {"size": str(size), "max_size": str(axis.max)})


def _given(item: wire.AttendInput) -> dict[str, wire.Tensor]:
    given = {name: getattr(item, name) for name in FIELDS if item.HasField(name)}
    for name in FIELDS:
        if name in item.parameters:
            raise SignatureMismatch(f"{name} is among the parameters; it has a field of its own")
    return {**given, **item.parameters}


def _check_names(manifest: Manifest, given: Mapping[str, wire.Tensor]) -> None:
    takes = ", ".join(f"{spec.name} (optional)" if spec.optional else spec.name for spec in manifest.inputs)
    unknown = [name for name in given if manifest.input(name) is None]
    if unknown:
        raise SignatureMismatch(f"{manifest.name} has no input {shown(unknown[0])}; it takes {takes}")
    missing = [spec.name for spec in manifest.inputs if spec.name not in given and not spec.optional]
    if missing:
        raise SignatureMismatch(f"missing {', '.join(missing)}; {manifest.name} takes {takes}")


def _array(spec: InputSpec, tensor: wire.Tensor, max_bytes: int) -> Array:
    """A view of the message's bytes in the tensor's shape."""
    size, axes = len(tensor.values), spec.axes[1:]
    if len(tensor.shape) != len(axes):
        expected = ", ".join(_named(axis) for axis in axes)
        raise SignatureMismatch(f"{spec.name} has rank {len(tensor.shape)}; expected {len(axes)}: [{expected}]")
    shape = tuple(tensor.shape)
    if size > max_bytes:
        raise PayloadTooLarge(
            f"{spec.name}: {size} bytes are over the limit of {max_bytes} for one tensor",
            {"bytes": str(size), "max_bytes": str(max_bytes)},
        )
    dtype = NUMPY_DTYPES[spec.datatype]
    takes = math.prod(shape) * dtype.itemsize  # of Python's integers: cannot overflow
    if size != takes:
        raise MalformedTensor(f"{spec.name}: {size} bytes, but {spec.datatype} of shape {list(shape)} takes {takes}")
    largest = np.frombuffer(tensor.values, np.uint8).max(initial=0) if spec.datatype is Datatype.BOOL else 0
    if largest > 1:
        raise MalformedTensor(f"{spec.name}: a byte of a mask is 0 or 1, found {largest}")
    return np.frombuffer(tensor.values, dtype=dtype).reshape(shape)


def _counted(axis: LengthAxis | FreeAxis, size: int) -> str:
    return f"{size} {axis.name}" if axis.kind == "length" else f"{axis.name} {size}"


def _named(axis: Axis) -> str:
    return str(axis.size) if axis.kind == "fixed" else getattr(axis, "name", None) or "any size"


def _check_finite(spec: InputSpec, array: Array) -> None:
    if spec.datatype is not Datatype.FP32:
        return
    finite = np.isfinite(array.astype(np.float32, copy=False))
    if not finite.all():
        place = [int(index) for index in np.argwhere(~finite)[0]]
        raise MalformedTensor(f"{spec.name} holds NaN or infinity at {place}; expected finite numbers")
