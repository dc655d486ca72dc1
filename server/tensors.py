"""Named tensors with the datatypes of the Open Inference Protocol, independent of any wire or runtime.

A `Tensor` pairs a datatype with a numpy array. Two datatypes have no numpy dtype of their own: BYTES is an object
array of `bytes`, and BF16 is held as its 16-bit patterns (uint16), so that no precision is lost on the way through.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray


class Datatype(StrEnum):
    """The Open Inference Protocol's datatypes, by their wire names."""

    BOOL = "BOOL"
    UINT8 = "UINT8"
    UINT16 = "UINT16"
    UINT32 = "UINT32"
    UINT64 = "UINT64"
    INT8 = "INT8"
    INT16 = "INT16"
    INT32 = "INT32"
    INT64 = "INT64"
    FP16 = "FP16"
    BF16 = "BF16"
    FP32 = "FP32"
    FP64 = "FP64"
    BYTES = "BYTES"


Array = NDArray[np.generic]

NUMPY_DTYPES: dict[Datatype, np.dtype[np.generic]] = {
    Datatype.BOOL: np.dtype(np.bool_),
    Datatype.UINT8: np.dtype(np.uint8),
    Datatype.UINT16: np.dtype(np.uint16),
    Datatype.UINT32: np.dtype(np.uint32),
    Datatype.UINT64: np.dtype(np.uint64),
    Datatype.INT8: np.dtype(np.int8),
    Datatype.INT16: np.dtype(np.int16),
    Datatype.INT32: np.dtype(np.int32),
    Datatype.INT64: np.dtype(np.int64),
    Datatype.FP16: np.dtype(np.float16),
    Datatype.BF16: np.dtype(np.uint16),
    Datatype.FP32: np.dtype(np.float32),
    Datatype.FP64: np.dtype(np.float64),
    Datatype.BYTES: np.dtype(np.object_),
}


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """An array together with the datatype that it stands for.

    Raises ValueError if the array's dtype is not the one in which `datatype` is held.
    """

    datatype: Datatype
    array: Array

    def __post_init__(self) -> None:
        expected = NUMPY_DTYPES[self.datatype]
        if self.array.dtype != expected:
            raise ValueError(f"{self.datatype} is held as {expected}, not {self.array.dtype}")

    @property
    def shape(self) -> tuple[int, ...]:
        """The array's shape."""
        return self.array.shape

    @classmethod
    def of(cls, array: Array) -> "Tensor":
        """Wraps a numpy array under the datatype of its dtype; bytes and str objects become BYTES.

        Raises ValueError for a dtype that the protocol does not have.
        """
        if array.dtype.kind in "OSU":
            encoded = [item.encode() if isinstance(item, str) else bytes(item) for item in array.ravel().tolist()]
            held = np.empty(len(encoded), dtype=np.object_)
            held[:] = encoded
            return cls(Datatype.BYTES, held.reshape(array.shape))
        for datatype, dtype in NUMPY_DTYPES.items():
            if dtype == array.dtype and datatype is not Datatype.BF16:
                return cls(datatype, array)
        raise ValueError(f"no tensor datatype for numpy dtype {array.dtype}")


def element(value: float, datatype: Datatype) -> np.generic | bytes:
    """A number as arrays of `datatype` hold it; among BYTES, which have no numbers, the empty text."""
    if datatype is Datatype.BYTES:
        return b""
    number: np.generic = cast(np.full(1, value), datatype)[0]
    return number


def cast(array: Array, datatype: Datatype) -> Array:
    """Numbers or bools (BF16 patterns are neither) as arrays of `datatype` hold them; without a copy where possible."""
    if datatype is Datatype.BF16:
        return float32_to_bf16(array.astype(np.float32, copy=False))
    return array.astype(NUMPY_DTYPES[datatype], copy=False)


def float32_to_bf16(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Rounds float32 to bfloat16 bit patterns, to nearest even; NaN stays NaN."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    rounded = ((bits.astype(np.uint64) + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return np.where(np.isnan(values), np.uint16(0x7FC0), rounded)


def bf16_to_float32(patterns: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Widens bfloat16 bit patterns to float32; exact."""
    return (patterns.astype(np.uint32) << 16).view(np.float32)
