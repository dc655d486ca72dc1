import grpc
import numpy as np
import pytest
from attendant.v1 import attention_pb2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.tensors import Datatype
from server.wire import grpc_service_pb2 as wire
from tests.support.calls import (
    ATTENDANT,
    INFERENCE,
    Caller,
    classify_request,
    floats,
    infer_request,
    refusal,
    refused,
)
from tests.support.fakes import echo_model, image_model, make_settings, serving_fakes, text_model

INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND
THE_CALLERS_FAULT = {
    INVALID,
    NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.UNIMPLEMENTED,
}


@pytest.fixture
async def served(tmp_path):
    models = [*(echo_model(datatype) for datatype in Datatype), text_model(), image_model()]
    async with serving_fakes(models, tmp_path, make_settings(grpc={"max_message_bytes": 1024**2})) as server:
        yield server


@pytest.fixture
async def caller(served):
    async with grpc.aio.insecure_channel(served.address) as channel:
        yield Caller(channel)


def with_input(model: str, **fields: object) -> wire.ModelInferRequest:
    raw = fields.pop("raw", b"\0" * 8)
    request = wire.ModelInferRequest(model_name=model, raw_input_contents=[raw])
    request.inputs.add(**{"name": "x", "datatype": "FP32", "shape": [1, 2], **fields})
    return request


def mixed() -> wire.ModelInferRequest:
    request = with_input("echo_fp32")
    request.inputs[0].contents.fp32_contents.extend([1, 2])
    return request


def doubled() -> wire.ModelInferRequest:
    request = with_input("echo_fp32")
    request.inputs.append(request.inputs[0])
    request.raw_input_contents.append(b"\0" * 8)
    return request


def wrong_contents() -> wire.ModelInferRequest:
    request = wire.ModelInferRequest(model_name="echo_fp32")
    request.inputs.add(name="x", datatype="FP32", shape=[1, 1]).contents.int_contents.append(1)
    return request


def asking(*outputs: str) -> wire.ModelInferRequest:
    return infer_request("echo_fp32", outputs, x=floats(1))


def with_parameter(name: str) -> wire.ModelInferRequest:
    request = asking()
    request.parameters[name].int64_param = 1
    return request


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (with_input("echo_fp32", raw=b"\0" * 7), "TENSOR_MALFORMED"),
        (with_input("echo_fp32", raw=b""), "TENSOR_MALFORMED"),
        (with_input("echo_fp32", shape=[1, -2]), "TENSOR_MALFORMED"),
        (with_input("echo_fp32", shape=[-1, -2]), "TENSOR_MALFORMED"),
        (with_input("echo_fp32", shape=[2**62, 2**62]), "TENSOR_MALFORMED"),
        (with_input("echo_fp32", shape=[2**32, 2**32]), "TENSOR_MALFORMED"),
        (with_input("echo_fp32", shape=[1] * 100), "TENSOR_MALFORMED"),
        (with_input("echo_fp32", datatype="FP31"), "TENSOR_MALFORMED"),
        (with_input("echo_bool", datatype="BOOL", raw=b"\x00\x07"), "TENSOR_MALFORMED"),
        (with_input("echo_bytes", datatype="BYTES", raw=b"\xff\xff\xff\x7f1234"), "TENSOR_MALFORMED"),
        (mixed(), "TENSOR_MALFORMED"),
        (wrong_contents(), "TENSOR_MALFORMED"),
        (with_input("echo_fp32", datatype="INT32"), "SIGNATURE_MISMATCH"),
        (with_input("echo_fp32", shape=[2]), "SIGNATURE_MISMATCH"),
        (with_input("echo_fp32", shape=[1, 1, 2]), "SIGNATURE_MISMATCH"),
        (with_input("echo_fp32", shape=[], raw=b"\0" * 4), "SIGNATURE_MISMATCH"),
        (with_input("echo_fp32", name="z"), "SIGNATURE_MISMATCH"),
        (with_input("echo_fp32", name=""), "SIGNATURE_MISMATCH"),
        (with_input("echo_fp32", name="n" * 100_000), "SIGNATURE_MISMATCH"),
        (wire.ModelInferRequest(model_name="echo_fp32"), "SIGNATURE_MISMATCH"),
        (doubled(), "SIGNATURE_MISMATCH"),
        (asking("y", "y"), "SIGNATURE_MISMATCH"),
        (asking("nothing"), "SIGNATURE_MISMATCH"),
        (with_input("echo_fp32", shape=[0, 2], raw=b""), "INPUT_EMPTY"),
        (with_input("echo_fp32", shape=[2, 0], raw=b""), "INPUT_EMPTY"),
        (infer_request("echo_fp32", x=np.zeros((257, 1), dtype=np.float32)), "TOO_MANY_ROWS"),
        (infer_request("areas", input_ids=np.zeros((1, 17), dtype=np.int64)), "SEQUENCE_TOO_LONG"),
        (with_parameter("temperature"), "PARAMETER_INVALID"),
        (infer_request("echo_fp32", id="x" * 129, x=floats(1)), "PARAMETER_INVALID"),
        (infer_request("echo_fp32", id="\x07", x=floats(1)), "PARAMETER_INVALID"),
    ],
)
async def test_a_request_that_cannot_be_served_is_refused_as_invalid(caller, request_, reason):
    found = await refused(caller.infer(request_))
    assert (found.code, found.reason) == (INVALID, reason)
    assert found.metadata["request_id"]
    assert len(found.message) < 2100
    answer = await caller.infer(infer_request("echo_fp32", x=floats(1)))
    assert answer.raw_output_contents[0] == floats(1).tobytes()


@pytest.mark.parametrize("name", ["sequence_id", "sequence_start"])
async def test_sequences_are_refused_as_not_implemented(caller, name):
    found = await refused(caller.infer(with_parameter(name)))
    assert (found.code, found.reason) == (grpc.StatusCode.UNIMPLEMENTED, "NOT_IMPLEMENTED")


async def test_shared_memory_is_refused_as_not_implemented(caller):
    request = wire.ModelInferRequest(model_name="echo_fp32")
    item = request.inputs.add(name="x", datatype="FP32", shape=[1, 1])
    item.parameters["shared_memory_region"].string_param = "/dev/shm/other"
    found = await refused(caller.infer(request))
    assert (found.code, found.reason) == (grpc.StatusCode.UNIMPLEMENTED, "NOT_IMPLEMENTED")


@pytest.mark.parametrize(
    ("model", "version", "reason"),
    [
        ("nobody", "", "MODEL_NOT_FOUND"),
        ("", "", "MODEL_NOT_FOUND"),
        ("../areas", "", "MODEL_NOT_FOUND"),
        ("..", "", "MODEL_NOT_FOUND"),
        ("areas\0", "", "MODEL_NOT_FOUND"),
        ("areas\n", "", "MODEL_NOT_FOUND"),
        ("areas", "9", "VERSION_NOT_FOUND"),
        ("areas", "0", "VERSION_NOT_FOUND"),
        ("areas", "-1", "VERSION_NOT_FOUND"),
        ("areas", "01" * 100, "VERSION_NOT_FOUND"),
        ("areas", "1.0", "VERSION_NOT_FOUND"),
        ("areas", "²", "VERSION_NOT_FOUND"),
        ("areas", "beta", "VERSION_NOT_FOUND"),
        ("areas", "../1", "VERSION_NOT_FOUND"),
    ],
)
async def test_an_unknown_model_version_or_alias_is_not_found(caller, model, version, reason):
    for method, request in (
        ("ModelInfer", infer_request(model, version=version, x=floats(1))),
        ("ModelMetadata", wire.ModelMetadataRequest(name=model, version=version)),
        ("ModelConfig", wire.ModelConfigRequest(name=model, version=version)),
    ):
        found = await refused(caller.ask(method, request))
        assert (found.code, found.reason) == (NOT_FOUND, reason)


async def test_an_oversized_message_is_refused_by_the_library(caller):
    request = infer_request("echo_uint8", x=np.zeros((1, 1024**2), dtype=np.uint8))
    found = await refused(caller.infer(request))
    assert (found.code, found.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "")


async def test_a_large_message_below_the_limit_is_served(caller):
    array = np.ones((1, 2 * 10**5), dtype=np.float32)
    assert (await caller.infer(infer_request("echo_fp32", x=array))).raw_output_contents[0] == array.tobytes()


async def test_a_tensor_over_its_limit_is_refused(tmp_path):
    limited = make_settings(security={"max_tensor_bytes": 8})
    async with (
        serving_fakes([echo_model(Datatype.FP32)], tmp_path, limited) as served,
        grpc.aio.insecure_channel(served.address) as channel,
    ):
        caller = Caller(channel)
        await caller.infer(infer_request("echo_fp32", x=floats(1, 2)))
        found = await refused(caller.infer(infer_request("echo_fp32", x=floats(1, 2, 3))))
        assert (found.code, found.reason) == (INVALID, "PAYLOAD_TOO_LARGE")


async def test_invalid_utf8_in_a_text_is_a_malformed_message(caller):
    content = classify_request("areas", "abcd").SerializeToString().replace(b"abcd", b"ab\xff\xfe")
    found = await refused(caller.send(ATTENDANT, "Classify", content))
    assert (found.code, found.reason) == (INVALID, "MESSAGE_MALFORMED")


async def test_a_malformed_message_is_answered_with_the_headers_id(caller):
    call = caller.send(INFERENCE, "ModelInfer", b"\xff", metadata=(("x-request-id", "from-proxy"),))
    assert (await refused(call)).metadata["request_id"] == "from-proxy"


METHODS = [
    *((INFERENCE, method.name) for method in wire.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods),
    (ATTENDANT, "Classify"),
    ("grpc.health.v1.Health", "Check"),
]


@pytest.mark.parametrize(("service", "method"), [pair for pair in METHODS if pair[1] != "ModelStreamInfer"])
async def test_bytes_that_are_no_message_are_never_the_servers_fault(caller, service, method):
    found = await refused(caller.send(service, method, b"\x0a\xff\xff\xff\xff\x7f"))
    assert found.reason in ("MESSAGE_MALFORMED", "NOT_IMPLEMENTED")
    assert found.code in THE_CALLERS_FAULT


async def code_of(caller: Caller, service: str, method: str, content: bytes) -> grpc.StatusCode:
    try:
        await caller.send(service, method, content)
    except grpc.aio.AioRpcError as error:
        found = refusal(error)
    else:
        return grpc.StatusCode.OK
    assert found.reason not in ("", "UNEXPECTED"), found
    return found.code


VALID = [
    (INFERENCE, "ModelInfer", infer_request("echo_fp32", ("y",), id="r", x=floats(1, 2, 3))),
    (INFERENCE, "ModelInfer", mixed()),
    (INFERENCE, "ModelInfer", infer_request("areas", text=np.array([b"a b"], dtype=np.object_))),
    (INFERENCE, "ModelConfig", wire.ModelConfigRequest(name="areas", version="1")),
    (ATTENDANT, "Classify", classify_request("areas", "a b", attention=attention_pb2.AttentionRequest(layers=[1]))),
    (ATTENDANT, "Classify", classify_request("digits", b"\x89PNG\r\n\x1a\n0000IHDR")),
]
FUZZ = settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@FUZZ
@given(method=st.sampled_from([pair for pair in METHODS if pair[1] != "ModelStreamInfer"]), content=st.binary())
async def test_random_bytes_are_never_the_servers_fault(caller, method, content):
    assert await code_of(caller, *method, content) in THE_CALLERS_FAULT | {grpc.StatusCode.OK}


@FUZZ
@given(valid=st.sampled_from(VALID), data=st.data())
async def test_truncated_messages_are_never_the_servers_fault(caller, valid, data):
    service, method, message = valid
    content = message.SerializeToString()
    cut = content[: data.draw(st.integers(0, len(content) - 1))]
    assert await code_of(caller, service, method, cut) in THE_CALLERS_FAULT | {grpc.StatusCode.OK}


@FUZZ
@given(valid=st.sampled_from(VALID), data=st.data())
async def test_damaged_messages_are_never_the_servers_fault(caller, valid, data):
    service, method, message = valid
    content = bytearray(message.SerializeToString())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    assert await code_of(caller, service, method, bytes(content)) in THE_CALLERS_FAULT | {grpc.StatusCode.OK}
