"""Calls over a real channel, by method name, as bytes or messages."""

import io
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass

import grpc
import numpy as np
from attendant.v1 import classify_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from PIL import Image

from server.rpc.open_inference.tensors import write_raw
from server.tensors import Array, Datatype
from server.wire import grpc_service_pb2 as wire

INFERENCE = "inference.GRPCInferenceService"
ATTENDANT = "attendant.v1.AttendantService"


@dataclass(frozen=True)
class Refusal:
    """How a call was refused."""

    code: grpc.StatusCode
    reason: str
    """Of the ErrorInfo; empty where there is none."""
    message: str
    metadata: dict[str, str]


class Caller:
    """One channel to the server."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel

    async def send(self, service: str, method: str, content: bytes, **options: object) -> bytes:
        return await self.channel.unary_unary(f"/{service}/{method}")(content, **options)

    async def ask(self, method: str, request: Message, **options: object) -> Message:
        reply = await self.send(INFERENCE, method, request.SerializeToString(), **options)
        return getattr(wire, f"{method}Response").FromString(reply)

    async def infer(self, request: wire.ModelInferRequest, **options: object) -> wire.ModelInferResponse:
        return await self.ask("ModelInfer", request, **options)

    async def classify(self, request: classify_pb2.ClassifyRequest, **options: object) -> classify_pb2.ClassifyResponse:
        reply = await self.send(ATTENDANT, "Classify", request.SerializeToString(), **options)
        return classify_pb2.ClassifyResponse.FromString(reply)


async def refused(call: Awaitable[object]) -> Refusal:
    """The refusal of a call that must be refused."""
    try:
        answer = await call
    except grpc.aio.AioRpcError as error:
        return refusal(error)
    raise AssertionError(f"answered: {answer!r:.500}")


def refusal(error: grpc.aio.AioRpcError) -> Refusal:
    info = error_details_pb2.ErrorInfo()
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            assert status_pb2.Status.FromString(value).details[0].Unpack(info)
    return Refusal(error.code(), info.reason, error.details() or "", dict(info.metadata))


def infer_request(model: str, outputs: Sequence[str] = (), id: str = "", version: str = "", **inputs: Array):
    """A request with raw contents; for BF16, whose arrays look like UINT16, give a pair of datatype and array."""
    request = wire.ModelInferRequest(model_name=model, model_version=version, id=id)
    for name, value in inputs.items():
        datatype, array = value if isinstance(value, tuple) else (datatype_of(value), value)
        request.inputs.add(name=name, datatype=datatype, shape=array.shape)
        request.raw_input_contents.append(write_raw(datatype, array))
    for name in outputs:
        request.outputs.add(name=name)
    return request


def datatype_of(array: Array) -> Datatype:
    names = {"bool": "BOOL", "object": "BYTES", "float16": "FP16", "float32": "FP32", "float64": "FP64"}
    return Datatype(names.get(array.dtype.name, array.dtype.name.upper()))


def floats(*values: float) -> Array:
    """One row of float32."""
    return np.array([values], dtype=np.float32)


def classify_request(model: str, *contents: str | bytes, **fields: object) -> classify_pb2.ClassifyRequest:
    request = classify_pb2.ClassifyRequest(**fields)
    request.model.name = model
    for content in contents:
        request.inputs.add(**{"text" if isinstance(content, str) else "image": content})
    return request


def png(brightness: int = 255, size: tuple[int, int] = (8, 8)) -> bytes:
    """A plain grey image."""
    content = io.BytesIO()
    Image.new("L", size, brightness).save(content, format="PNG")
    return content.getvalue()
