"""ONNX Runtime's element types and values against the server's tensors."""

import ctypes
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxruntime

from server.errors import UndecodableInput
from server.tensors import Array, Datatype

ELEMENT_TYPES: Mapping[str, Datatype] = {
    "tensor(bool)": Datatype.BOOL,
    "tensor(uint8)": Datatype.UINT8,
    "tensor(uint16)": Datatype.UINT16,
    "tensor(uint32)": Datatype.UINT32,
    "tensor(uint64)": Datatype.UINT64,
    "tensor(int8)": Datatype.INT8,
    "tensor(int16)": Datatype.INT16,
    "tensor(int32)": Datatype.INT32,
    "tensor(int64)": Datatype.INT64,
    "tensor(float16)": Datatype.FP16,
    "tensor(bfloat16)": Datatype.BF16,
    "tensor(float)": Datatype.FP32,
    "tensor(double)": Datatype.FP64,
    "tensor(string)": Datatype.BYTES,
}
"""The names by which ONNX Runtime describes inputs and outputs; whatever is missing here cannot be served."""

_ONNX_BFLOAT16 = 16
"""TensorProto.DataType.BFLOAT16."""


def text_of(array: Array) -> Array:
    """Bytes to str, element by element, as ONNX Runtime's Python interface takes strings: UTF-8 only.

    Raises UndecodableInput for an element that is not UTF-8; admission asks too, so that a batch never sees one.
    """
    try:
        texts = [item if isinstance(item, str) else bytes(item).decode() for item in array.ravel().tolist()]
    except UnicodeDecodeError as error:
        raise UndecodableInput("this model takes text: every BYTES element must be UTF-8") from error
    return _objects(texts, array.shape)


def bytes_of(array: Array) -> Array:
    """Encodes str elements as UTF-8 bytes."""
    return _objects([item.encode() if isinstance(item, str) else item for item in array.ravel().tolist()], array.shape)


def _objects(items: list[Any], shape: tuple[int, ...]) -> Array:
    held = np.empty(len(items), dtype=np.object_)
    held[:] = items
    return held.reshape(shape)


def bf16_value(patterns: Array) -> onnxruntime.OrtValue:
    """uint16 patterns -> a runtime value over the same memory; the array must outlive its use, as it does in a run."""
    patterns = np.asarray(patterns, dtype=np.uint16, order="C")
    return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(patterns, _ONNX_BFLOAT16)


def array_of(value: onnxruntime.OrtValue) -> Array:
    """A runtime value -> an array of its own; BF16, for which numpy has no dtype, as uint16 patterns."""
    if value.element_type() != _ONNX_BFLOAT16:
        array: Array = value.numpy()
        return array
    shape, size = tuple(value.shape()), value.tensor_size_in_bytes()
    content = ctypes.string_at(value.data_ptr(), size) if size else b""
    return np.frombuffer(bytearray(content), dtype=np.uint16).reshape(shape)
