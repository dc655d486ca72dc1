"""Every kind of caller reaches the servers through Envoy's one port."""

import base64
import json
import re
import struct
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import attendant
import numpy as np
import pytest
import tritonclient.grpc as triton
from attendant.v1 import classify_pb2

from tests.containers.conftest import DIGIT, SERVERS

CLASSIFY = "attendant.v1.AttendantService/Classify"
TRAILERS = 0x80
"""The flag of a gRPC-Web frame that holds the trailers."""


def post(address: str, content: bytes, content_type: str) -> bytes:
    request = Request(f"http://{address}/{CLASSIFY}", content, {"content-type": content_type})
    with urlopen(request, timeout=30) as reply:  # noqa: S310, Envoy on this machine
        assert reply.status == 200
        return reply.read()


def test_the_client(address, digit):
    with attendant.Client(address) as client:
        answer = client.classify("digits", [digit, digit], attention=True)
    assert [one.best.name for one in answer] == [str(DIGIT)] * 2
    assert answer.model.version == 1
    assert answer[0].attention[0].weights.size > 0


def test_tritonclient(address, digit):
    with triton.InferenceServerClient(address) as client:
        assert client.is_server_ready()
        assert client.is_model_ready("digits")
        image = triton.InferInput("image", [1], "BYTES")
        image.set_data_from_numpy(np.array([digit], np.object_))
        wanted = triton.InferRequestedOutput("logits", class_count=1)
        (best,) = client.infer("digits", [image], outputs=[wanted]).as_numpy("logits").ravel()
    assert best.decode().split(":")[1:] == [str(DIGIT)] * 2


def test_grpc_web(address, digit):
    request = classify_pb2.ClassifyRequest(model={"name": "digits"}, inputs=[{"image": digit}]).SerializeToString()
    rest = post(address, struct.pack(">BI", 0, len(request)) + request, "application/grpc-web+proto")
    frames = {}
    while rest:
        flag, length = struct.unpack(">BI", rest[:5])
        frames[flag], rest = rest[5 : 5 + length], rest[5 + length :]
    assert classify_pb2.ClassifyResponse.FromString(frames[0]).results[0].labels[0].name == str(DIGIT)
    assert b"grpc-status:0" in frames[TRAILERS]


def test_plain_json(address, digit):
    inputs = [{"image": base64.b64encode(digit).decode()}]
    request = json.dumps({"model": {"name": "digits"}, "inputs": inputs, "topK": 1}).encode()
    answer = json.loads(post(address, request, "application/json"))
    assert answer["results"][0]["labels"][0]["name"] == str(DIGIT)
    assert answer["model"] == {"name": "digits", "version": "1", "alias": "stable"}


def test_plain_json_of_an_error_has_its_reason(address):
    with pytest.raises(HTTPError) as refused:
        post(address, b'{"model": {"name": "nobody"}, "inputs": [{"text": "x"}]}', "application/json")
    with refused.value as reply:
        told = json.load(reply)
    assert reply.code == 404
    assert told["message"] == "no model named 'nobody'"
    assert told["details"][0]["reason"] == "MODEL_NOT_FOUND"


def test_each_call_is_balanced_although_the_connection_is_one(stack, address, digit):
    with attendant.Client(address) as client:
        for _ in range(50):
            client.classify("digits", digit)
    told = [stack.metrics(replica) for replica in stack.replicas()]
    answered = [re.search(r"^attendant_requests_total\{.*Classify.*\} (\d+)", one, re.M) for one in told]
    assert len(answered) == SERVERS
    assert all(answered)
