"""A request list in the bytes of each protocol, and an answer's bytes as a vector."""

import json
import struct
from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from google.protobuf.message import DecodeError
from typing_extensions import override

from benchmarks.load.plan import Prepared, Transport
from benchmarks.load.requests import Ids
from benchmarks.load.verdict import Vector
from server.wire.grpc_service_pb2 import ModelInferRequest, ModelInferResponse

INFER = "/inference.GRPCInferenceService/ModelInfer"


class Wire(ABC):
    """One way of asking for an embedding."""

    transport: Transport
    path: str

    def prepare(self, rows: Sequence[Ids], port: int) -> Prepared:
        """All requests as the client sends them."""
        framed = [self._frame(self.body(ids), port) for ids in rows]
        path = self.path if self.transport is Transport.GRPC else ""
        return Prepared(self.transport, port, framed, path)

    @abstractmethod
    def body(self, ids: Ids) -> bytes:
        """The request's message."""

    @abstractmethod
    def read(self, body: bytes) -> Vector:
        """The answer's vector. Raises ValueError where there is none in it."""

    def _frame(self, body: bytes, port: int) -> bytes:
        if self.transport is Transport.GRPC:
            return struct.pack(">BI", 0, len(body)) + body
        return f"POST {self.path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{self._headers(body)}\r\n".encode() + body

    def _headers(self, body: bytes) -> str:
        return f"Content-Type: application/octet-stream\r\nContent-Length: {len(body)}\r\n"


class RawHttp(Wire):
    """Ids as INT64 in the body of a POST, the embedding as FP32, both little-endian."""

    transport = Transport.HTTP1

    def __init__(self, path: str) -> None:
        self.path = path

    @override
    def body(self, ids: Ids) -> bytes:
        return ids.astype("<i8").tobytes()

    @override
    def read(self, body: bytes) -> Vector:
        return np.frombuffer(body, dtype="<f4")


class JsonHttp(RawHttp):
    """Ids as JSON, the embedding as FP32."""

    @override
    def body(self, ids: Ids) -> bytes:
        return json.dumps({"input_ids": ids.tolist()}, separators=(",", ":")).encode()

    @override
    def _headers(self, body: bytes) -> str:
        return f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"


class OpenInference(Wire):
    """The Open Inference Protocol over gRPC, tensors as raw bytes.

    mask: whether an attention mask goes with the ids.
    padded_to: ids are filled with zeros up to this length; None: as long as they are.
    """

    transport = Transport.GRPC
    path = INFER

    def __init__(
        self,
        model: str,
        output: str = "embedding",
        *,
        mask: bool = True,
        rows: bool = True,
        padded_to: int | None = None,
        further: Sequence[str] = (),
    ) -> None:
        self._model, self._output, self._mask, self._rows = model, output, mask, rows
        self._padded_to, self._further = padded_to, further

    @override
    def body(self, ids: Ids) -> bytes:
        length = self._padded_to or len(ids)
        shape = [1, length] if self._rows else [length]
        request = ModelInferRequest(model_name=self._model)
        request.inputs.add(name="input_ids", datatype="INT64", shape=shape)
        request.raw_input_contents.append(np.pad(ids, (0, length - len(ids))).astype("<i8").tobytes())
        if self._mask:
            request.inputs.add(name="attention_mask", datatype="BOOL", shape=shape)
            request.raw_input_contents.append(b"\x01" * len(ids) + b"\x00" * (length - len(ids)))
        for name in (self._output, *self._further):
            request.outputs.add(name=name)
        return bytes(request.SerializeToString())

    @override
    def read(self, body: bytes) -> Vector:
        return np.frombuffer(_raw_output(body, self._output), dtype="<f4")


class NoopInference(OpenInference):
    """The model that does nothing: its answer is the ids that it got."""

    def __init__(self) -> None:
        super().__init__("noop", "echo", mask=False)

    @override
    def read(self, body: bytes) -> Vector:
        return np.frombuffer(_raw_output(body, "echo"), dtype="<i8").astype(np.float32)


class BytesInference(Wire):
    """The Open Inference Protocol over gRPC, each row's ids and embedding as one BYTES element."""

    transport = Transport.GRPC
    path = INFER

    def __init__(self, model: str) -> None:
        self._model = model

    @override
    def body(self, ids: Ids) -> bytes:
        content = ids.astype("<i8").tobytes()
        request = ModelInferRequest(model_name=self._model)
        request.inputs.add(name="input_ids", datatype="BYTES", shape=[1])
        request.raw_input_contents.append(struct.pack("<I", len(content)) + content)
        return bytes(request.SerializeToString())

    @override
    def read(self, body: bytes) -> Vector:
        return np.frombuffer(_raw_output(body, "embedding")[4:], dtype="<f4")


class BareEcho(Wire):
    """The bytes of another wire's requests, sent back by a method that does nothing."""

    transport = Transport.GRPC
    path = "/echo.Echo/Echo"

    def __init__(self, other: Wire) -> None:
        self._other = other

    @override
    def body(self, ids: Ids) -> bytes:
        return self._other.body(ids)

    @override
    def read(self, body: bytes) -> Vector:
        try:
            request = ModelInferRequest.FromString(body)
        except DecodeError as error:
            raise ValueError("the echo is no request") from error
        return np.frombuffer(request.raw_input_contents[0], dtype="<i8").astype(np.float32)


def _raw_output(body: bytes, name: str) -> bytes:
    try:
        response = ModelInferResponse.FromString(body)
    except DecodeError as error:
        raise ValueError("the answer is no ModelInferResponse") from error
    names = [output.name for output in response.outputs]
    if name not in names or len(response.raw_output_contents) != len(names):
        raise ValueError(f"the answer has no raw output {name!r}, but {names}")
    return bytes(response.raw_output_contents[names.index(name)])
