"""Attend: the bare mechanism on the caller's own vectors; builds the request and reads the reply, without a network."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from attendant.common import ModelVersion, Timing, model_ref, parse_model, parse_timing
from attendant.errors import ServerError
from attendant.transport import Call, Method, new_request_id
from attendant.v1 import attend_pb2

ATTEND = Method("/attendant.v1.AttendantService/Attend", attend_pb2.AttendResponse)
DEFAULT_MECHANISM = "attend"
"""The scaled dot product."""

Floats: TypeAlias = npt.NDArray[np.float32]
Vectors: TypeAlias = npt.ArrayLike | Sequence[npt.ArrayLike]
"""Numbers of one input, [positions, width], or a sequence of them, one for each input."""
Parameters: TypeAlias = Mapping[str, npt.ArrayLike]


@dataclass(frozen=True, slots=True, eq=False)
class Attended:
    """What the queries of one input took: read-only arrays.

    `context` is [queries, width]; `weights` is [queries, keys], or [heads, queries, keys] of a mechanism with heads.
    """

    context: Floats
    weights: Floats
    timing: Timing


@dataclass(frozen=True, slots=True, eq=False)
class AttendResult:
    """One result for each input, in their order; iterates and indexes over them."""

    results: tuple[Attended, ...]
    model: ModelVersion
    timing: Timing
    request_id: str

    def __len__(self) -> int:
        return len(self.results)

    def __iter__(self) -> Iterator[Attended]:
        return iter(self.results)

    def __getitem__(self, index: int) -> Attended:
        return self.results[index]


def attend_call(
    query: Vectors,
    key: Vectors,
    value: Vectors,
    mask: Vectors | None = None,
    *,
    model: str = DEFAULT_MECHANISM,
    parameters: Parameters | None = None,
    version: int | None = None,
    alias: str | None = None,
    request_id: str | None = None,
) -> Call[attend_pb2.AttendResponse, AttendResult]:
    """The call for one input, or for as many as there are queries; the parameters serve all of them.

    Raises ValueError for what is no array of numbers, a mask that is not bool, or fewer of one than of the other.
    """
    given: dict[str, Vectors] = {"query": query, "key": key, "value": value}
    if mask is not None:
        given["mask"] = mask
    single = _is_single(query)
    inputs = {name: [_tensor(name, each) for each in _each(array, single)] for name, array in given.items()}
    if len({len(tensors) for tensors in inputs.values()}) > 1:
        counted = ", ".join(f"{len(tensors)} of {name}" for name, tensors in inputs.items())
        raise ValueError(f"every input needs one of each: {counted}")
    shared = {name: _tensor(name, array) for name, array in (parameters or {}).items()}
    request = attend_pb2.AttendRequest(
        model=model_ref(model, version, alias),
        inputs=[
            attend_pb2.AttendInput(**dict(zip(inputs, tensors, strict=True)), parameters=shared)
            for tensors in zip(*inputs.values(), strict=True)
        ],
        request_id=request_id or new_request_id(),
    )
    return Call(ATTEND, request, parse_attend, request.request_id)


def parse_attend(reply: attend_pb2.AttendResponse) -> AttendResult:
    """Reads a reply. Raises ServerError if a tensor in it contradicts itself."""
    return AttendResult(
        results=tuple(
            Attended(_array("context", each.context), _array("weights", each.weights), parse_timing(each.timing))
            for each in reply.results
        ),
        model=parse_model(reply.model),
        timing=parse_timing(reply.timing),
        request_id=reply.request_id,
    )


def _is_single(query: Vectors) -> bool:
    """One input is a matrix; anything deeper is a sequence of them, whose lengths may differ."""
    if isinstance(query, Sequence):
        return len(query) == 0 or np.ndim(query[0]) < 2
    return np.ndim(query) < 3


def _each(array: Vectors, single: bool) -> list[Any]:
    if single:
        return [array]
    return list(array) if isinstance(array, Sequence) else list(np.asarray(array))


def _tensor(name: str, array: Any) -> attend_pb2.Tensor:
    """Numbers as float32, a mask as one byte each."""
    found = np.asarray(array)
    if name == "mask":
        if found.dtype != np.bool_:
            raise ValueError(f"mask must be bool (True may attend), not {found.dtype}")
        return attend_pb2.Tensor(shape=found.shape, values=found.tobytes())
    if found.dtype.kind not in "fiub":
        raise ValueError(f"{name} must be numbers, not {found.dtype}")
    with np.errstate(over="ignore"):  # becomes infinity, which the server refuses by its place
        return attend_pb2.Tensor(shape=found.shape, values=found.astype("<f4").tobytes())


def _array(name: str, tensor: attend_pb2.Tensor) -> Floats:
    shape = tuple(tensor.shape)
    if len(tensor.values) != 4 * math.prod(shape):
        raise ServerError(f"{name}: {len(tensor.values)} bytes do not fill shape {list(shape)}")
    return np.frombuffer(tensor.values, "<f4").reshape(shape).astype(np.float32, copy=False)
