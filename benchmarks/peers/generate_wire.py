"""A list of requests that have text written, in the bytes of `attendant.v1`; and an answer's bytes as tokens."""

import struct
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TypeVar

from attendant.v1.common_pb2 import ModelRef
from attendant.v1.generate_pb2 import (
    Decoding,
    GenerateInput,
    GenerateRequest,
    GenerateResponse,
    GenerateStreamRequest,
    GenerateStreamResponse,
)
from google.protobuf.message import DecodeError
from typing_extensions import override

from benchmarks.load.measured_writing import Text
from benchmarks.load.plan import Prepared, Transport
from benchmarks.load.writing import WritingList

SERVICE = "/attendant.v1.AttendantService"
_FRAME = struct.Struct(">BI")
Message = TypeVar("Message", GenerateResponse, GenerateStreamResponse)


class TextWire(ABC):
    """One way of having text written: greedily, and of exactly the length that is wanted."""

    transport: Transport
    path: str

    def __init__(self, model: str) -> None:
        self.model = ModelRef(name=model)

    def prepare(self, requests: WritingList, port: int) -> Prepared:
        """All requests as the client sends them."""
        bodies = [
            self.body(GenerateInput(text=text), Decoding(max_tokens=wanted, min_tokens=wanted))
            for text, wanted in zip(requests.texts, requests.wanted, strict=True)
        ]
        return Prepared(self.transport, port, [_FRAME.pack(0, len(body)) + body for body in bodies], self.path)

    @abstractmethod
    def body(self, source: GenerateInput, decoding: Decoding) -> bytes:
        """The request's message."""

    @abstractmethod
    def read(self, body: bytes) -> Text:
        """The answer's tokens. Raises ValueError where it is not one."""


class Unary(TextWire):
    """The whole text in one message."""

    transport = Transport.GRPC
    path = f"{SERVICE}/Generate"

    @override
    def body(self, source: GenerateInput, decoding: Decoding) -> bytes:
        return bytes(GenerateRequest(model=self.model, inputs=[source], decoding=decoding).SerializeToString())

    @override
    def read(self, body: bytes) -> Text:
        response = _parsed(GenerateResponse, body)
        if len(response.results) != 1 or len(response.results[0].sequences) != 1:
            raise ValueError("the answer has not the one text that was asked for")
        return Text([token.id for token in response.results[0].sequences[0].tokens])


class Streamed(TextWire):
    """Each token as it is written."""

    transport = Transport.GRPC_STREAM
    path = f"{SERVICE}/GenerateStream"

    @override
    def body(self, source: GenerateInput, decoding: Decoding) -> bytes:
        return bytes(GenerateStreamRequest(model=self.model, input=source, decoding=decoding).SerializeToString())

    @override
    def read(self, body: bytes) -> Text:
        messages = [_parsed(GenerateStreamResponse, message) for message in messages_of(body)]
        if not messages or not messages[-1].HasField("end"):
            raise ValueError("the stream does not say how it ends")
        first = next((number for number, message in enumerate(messages) if message.tokens), None)
        if first is None:
            raise ValueError("the stream brings no token")
        return Text([token.id for message in messages for token in message.tokens], first)


def messages_of(body: bytes) -> Iterator[bytes]:
    """The messages of a stream as the client keeps them, each behind its five bytes. Raises ValueError."""
    at = 0
    while at < len(body):
        if len(body) - at < _FRAME.size:
            raise ValueError("the stream ends within the head of a message")
        compressed, size = _FRAME.unpack_from(body, at)
        at += _FRAME.size
        if compressed or len(body) - at < size:
            raise ValueError("a message of the stream is compressed or cut short")
        yield body[at : at + size]
        at += size


def _parsed(kind: type[Message], body: bytes) -> Message:
    try:
        return kind.FromString(body)
    except DecodeError as error:
        raise ValueError(f"the answer is no {kind.__name__}") from error
