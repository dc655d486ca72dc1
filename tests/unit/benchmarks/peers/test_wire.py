import json

import numpy as np
import pytest

from benchmarks.load.plan import Transport
from benchmarks.peers.wire import BareEcho, BytesInference, JsonHttp, NoopInference, OpenInference, RawHttp
from server.wire.grpc_service_pb2 import ModelInferRequest, ModelInferResponse

IDS = np.array([5, 6, 7], dtype=np.int64)


def answer(name: str, datatype: str, raw: bytes) -> bytes:
    response = ModelInferResponse(model_name="m")
    response.outputs.add(name=name, datatype=datatype, shape=[1, 2])
    response.raw_output_contents.append(raw)
    return response.SerializeToString()


def test_http_request_is_whole():
    prepared = RawHttp("/inference").prepare([IDS], 1234)

    head, _, body = prepared.requests[0].partition(b"\r\n\r\n")
    assert prepared.transport is Transport.HTTP1
    assert head.startswith(b"POST /inference HTTP/1.1\r\nHost: 127.0.0.1:1234\r\n")
    assert b"Content-Length: 24" in head
    assert np.frombuffer(body, "<i8").tolist() == [5, 6, 7]


def test_json_request_names_its_length():
    head, _, body = JsonHttp("/predict").prepare([IDS], 1).requests[0].partition(b"\r\n\r\n")

    assert json.loads(body) == {"input_ids": [5, 6, 7]}
    assert f"Content-Length: {len(body)}".encode() in head


def test_grpc_message_is_framed():
    message = OpenInference("m").prepare([IDS], 1).requests[0]

    assert message[0] == 0
    assert int.from_bytes(message[1:5], "big") == len(message) - 5
    request = ModelInferRequest.FromString(message[5:])
    assert [tensor.name for tensor in request.inputs] == ["input_ids", "attention_mask"]
    assert request.raw_input_contents[1] == b"\x01\x01\x01"


def test_padded_request_has_zeros_and_one_length():
    request = ModelInferRequest.FromString(OpenInference("m", mask=False, padded_to=8).body(IDS))

    assert list(request.inputs[0].shape) == [1, 8]
    assert np.frombuffer(request.raw_input_contents[0], "<i8").tolist() == [5, 6, 7, 0, 0, 0, 0, 0]


def test_answers_are_read():
    raw = np.array([1.5, 2.5], dtype="<f4").tobytes()

    assert OpenInference("m").read(answer("embedding", "FP32", raw)).tolist() == [1.5, 2.5]
    counted = len(raw).to_bytes(4, "little") + raw
    assert BytesInference("m").read(answer("embedding", "BYTES", counted)).tolist() == [1.5, 2.5]
    assert NoopInference().read(answer("echo", "INT64", IDS.tobytes())).tolist() == [5, 6, 7]


def test_echo_is_read_as_the_ids_that_were_sent():
    wire = BareEcho(NoopInference())

    assert wire.read(wire.body(IDS)).tolist() == [5, 6, 7]


@pytest.mark.parametrize("body", [b"\xff\xff\xff", b"", answer("other", "FP32", b"1234")])
def test_answer_without_the_output_is_no_answer(body):
    with pytest.raises(ValueError):
        OpenInference("m").read(body)
