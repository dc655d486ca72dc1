import struct

import numpy as np
import pytest
from attendant.v1.generate_pb2 import (
    GeneratedToken,
    GenerateRequest,
    GenerateResponse,
    GenerateStreamRequest,
    GenerateStreamResponse,
)

from benchmarks.load.plan import Transport
from benchmarks.load.writing import WritingList
from benchmarks.peers.generate_wire import Streamed, Unary, messages_of

REQUESTS = WritingList((np.array([3, 4]), np.array([5])), ("w3 w4", "w5"), (7, 9))


def framed(message) -> bytes:
    body = message.SerializeToString()
    return struct.pack(">BI", 0, len(body)) + body


def tokens(*ids: int):
    return [GeneratedToken(id=id_) for id_ in ids]


def test_unary_call_has_one_input_and_the_wanted_length():
    prepared = Unary("m").prepare(REQUESTS, port=1)
    request = GenerateRequest.FromString(prepared.requests[1][5:])

    assert (prepared.transport, prepared.path) == (Transport.GRPC, "/attendant.v1.AttendantService/Generate")
    assert (request.model.name, [one.text for one in request.inputs]) == ("m", ["w5"])
    assert (request.decoding.max_tokens, request.decoding.min_tokens) == (9, 9)
    assert prepared.requests[0][:5] == struct.pack(">BI", 0, len(prepared.requests[0]) - 5)


def test_streamed_call_asks_the_same():
    prepared = Streamed("m").prepare(REQUESTS, port=1)
    request = GenerateStreamRequest.FromString(prepared.requests[0][5:])

    assert prepared.transport is Transport.GRPC_STREAM
    assert prepared.path == "/attendant.v1.AttendantService/GenerateStream"
    assert (request.input.text, request.decoding.max_tokens, request.decoding.min_tokens) == ("w3 w4", 7, 7)


def test_unary_answer_is_read():
    response = GenerateResponse()
    response.results.add().sequences.add(tokens=tokens(4, 5))

    assert Unary("m").read(response.SerializeToString()).ids == [4, 5]


@pytest.mark.parametrize("body", [b"", b"\xff", GenerateResponse().SerializeToString()])
def test_what_is_no_unary_answer_is_told(body):
    with pytest.raises(ValueError, match="answer"):
        Unary("m").read(body)


def stream(*messages) -> bytes:
    return b"".join(map(framed, messages))


START = GenerateStreamResponse(start={"request_id": "r"})
END = GenerateStreamResponse(tokens=tokens(6), end={"score": -1.0})


def test_first_token_comes_with_the_first_message_that_has_one():
    found = Streamed("m").read(stream(START, GenerateStreamResponse(tokens=tokens(4, 5)), END))

    assert found.ids == [4, 5, 6]
    assert found.first_message == 1


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "how it ends"),
        (stream(START), "how it ends"),
        (stream(START, GenerateStreamResponse(end={"score": 0.0})), "no token"),
        (stream(START, END)[:-1], "cut short"),
        (stream(START, END) + b"\x00", "within the head"),
        (b"\x01" + stream(START, END)[1:], "compressed"),
        (struct.pack(">BI", 0, 1) + b"\xff", "no GenerateStreamResponse"),
    ],
)
def test_stream_that_is_not_whole_is_told(body, reason):
    with pytest.raises(ValueError, match=reason):
        Streamed("m").read(body)


def test_messages_are_taken_apart():
    assert list(messages_of(struct.pack(">BI", 0, 2) + b"ab" + struct.pack(">BI", 0, 0))) == [b"ab", b""]
