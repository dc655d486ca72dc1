"""Tensors between the protocol's messages and numpy: raw bytes both ways, typed contents on the way in.

Everything that the caller states is held against the bytes that came before anything is allocated, so no array is ever
larger than the message. Numbers in raw form are views of the message's own bytes. Raw numbers are little-endian, as
are the machines that this server runs on.
"""

from collections.abc import Mapping, Sequence
from math import prod
from types import MappingProxyType

import numpy as np

from server.errors import MalformedTensor, PayloadTooLarge, SignatureMismatch
from server.rpc.addressing import shown
from server.rpc.open_inference.bytes_tensor import join_bytes, split_bytes
from server.rpc.open_inference.typed_contents import read_typed
from server.tensors import NUMPY_DTYPES, Array, Datatype, Tensor
from server.wire.grpc_service_pb2 import InferTensorContents, ModelInferRequest

MAX_RANK = 32
"""The rank up to which every supported numpy has arrays."""
MAX_DIMENSION = 2**31 - 1
"""No dimension of an array that fits a message comes near; a shape with a zero in it could otherwise claim any."""
NOTHING_SHARED: Mapping[str, bytes] = MappingProxyType({})
_DATATYPES: Mapping[str, Datatype] = {datatype.value: datatype for datatype in Datatype}


def read_inputs(
    request: ModelInferRequest, max_tensor_bytes: int, shared: Mapping[str, bytes] = NOTHING_SHARED
) -> dict[str, Tensor]:
    """The request's inputs by name; `shared` holds the raw bytes of those that did not come with the request.

    Raises SignatureMismatch for a doubled name; MalformedTensor where raw and typed contents are mixed or miscounted
    or a tensor contradicts itself; PayloadTooLarge for one over `max_tensor_bytes`.
    """
    raw = request.raw_input_contents
    if raw:
        _check_all_raw(request, shared)
    inputs: dict[str, Tensor] = {}
    next_raw = iter(raw)
    for item in request.inputs:
        name = item.name
        if name in inputs:
            raise SignatureMismatch(f"input {shown(name)} is given twice")
        content = shared[name] if name in shared else next(next_raw) if raw else item.contents
        inputs[name] = read_tensor(name, item.datatype, item.shape, content, max_tensor_bytes)
    return inputs


def _check_all_raw(request: ModelInferRequest, shared: Mapping[str, bytes]) -> None:
    """Raises MalformedTensor where raw contents came and some are typed, or their number is another."""
    sent, came = 0, len(request.raw_input_contents)
    for item in request.inputs:
        if item.HasField("contents") and item.contents.ByteSize():
            raise MalformedTensor("typed contents and raw_input_contents in one request; use one of the two")
        sent += item.name not in shared
    if came != sent:
        raise MalformedTensor(f"{came} raw_input_contents for {sent} inputs; expected one each")


def read_tensor(
    name: str, datatype: str, dims: Sequence[int], content: bytes | InferTensorContents, max_tensor_bytes: int
) -> Tensor:
    """One tensor from its description and its raw bytes or typed contents.

    Raises MalformedTensor for an unknown datatype, an impossible shape, or contents that disagree with either;
    PayloadTooLarge for more than `max_tensor_bytes`.
    """
    kind = _DATATYPES.get(datatype)
    if kind is None:
        known = ", ".join(Datatype)
        raise MalformedTensor(f"input {shown(name)}: unknown datatype {shown(datatype)}; expected one of {known}")
    shape = _checked_shape(name, dims)
    size = len(content) if isinstance(content, bytes) else content.ByteSize()
    if size > max_tensor_bytes:
        raise PayloadTooLarge(
            f"input {shown(name)}: {size} bytes are over the limit of {max_tensor_bytes} for one tensor",
            {"bytes": str(size), "max_bytes": str(max_tensor_bytes)},
        )
    if isinstance(content, bytes):
        return Tensor(kind, _read_raw(name, kind, shape, content))
    flat = read_typed(name, kind, content)
    if flat.size != prod(shape):
        raise MalformedTensor(f"input {shown(name)}: {flat.size} elements, but shape {list(shape)} has {prod(shape)}")
    return Tensor(kind, flat.reshape(shape))


def _checked_shape(name: str, dims: Sequence[int]) -> tuple[int, ...]:
    if len(dims) > MAX_RANK:
        raise MalformedTensor(f"input {shown(name)}: rank {len(dims)} is over {MAX_RANK}")
    shape = tuple(dims)
    if shape and min(shape) < 0:
        raise MalformedTensor(f"input {shown(name)}: shape {list(shape)} has a negative dimension")
    if shape and max(shape) > MAX_DIMENSION:
        raise MalformedTensor(f"input {shown(name)}: shape {list(shape)} has a dimension over {MAX_DIMENSION}")
    return shape


def _read_raw(name: str, datatype: Datatype, shape: tuple[int, ...], content: bytes) -> Array:
    """The array, as a view of `content` for all datatypes but BYTES."""
    elements = prod(shape)  # of Python's integers: cannot overflow
    if datatype is Datatype.BYTES:
        return split_bytes(name, content, elements).reshape(shape)
    dtype = NUMPY_DTYPES[datatype]
    if len(content) != elements * dtype.itemsize:
        raise MalformedTensor(
            f"input {shown(name)}: {len(content)} bytes, but {datatype} of shape {list(shape)} takes "
            f"{elements * dtype.itemsize}"
        )
    if datatype is Datatype.BOOL:
        patterns = np.frombuffer(content, dtype=np.uint8)
        if patterns.size and patterns.max() > 1:
            raise MalformedTensor(f"input {shown(name)}: a BOOL byte is 0 or 1, found {patterns.max()}")
    return np.frombuffer(content, dtype=dtype).reshape(shape)


def write_raw(datatype: Datatype, array: Array) -> bytes:
    """An array's raw bytes, row-major; BYTES elements with their length before each."""
    return join_bytes(array.ravel().tolist()) if datatype is Datatype.BYTES else array.tobytes()
