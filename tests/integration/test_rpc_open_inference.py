import asyncio
import json

import grpc
import numpy as np
import pytest

from server.rpc.open_inference.bytes_tensor import split_bytes
from server.tensors import NUMPY_DTYPES, Datatype
from server.wire import grpc_service_pb2 as wire
from server.wire import model_config_pb2
from tests.support.calls import INFERENCE, Caller, floats, infer_request, png, refused
from tests.support.fakes import (
    GatedModel,
    echo_model,
    failing_model,
    image_model,
    make_settings,
    serving_fakes,
    text_model,
)

INVALID = grpc.StatusCode.INVALID_ARGUMENT


@pytest.fixture
async def served(tmp_path):
    models = [
        *(echo_model(datatype) for datatype in Datatype),
        text_model(),
        text_model(version=2, aliases=("canary",)),
        image_model(),
        failing_model(),
    ]
    async with serving_fakes(models, tmp_path) as server:
        yield server


@pytest.fixture
async def caller(served):
    async with grpc.aio.insecure_channel(served.address) as channel:
        yield Caller(channel)


def floats_of(response: wire.ModelInferResponse, index: int = 0) -> list:
    output = response.outputs[index]
    array = np.frombuffer(response.raw_output_contents[index], dtype=NUMPY_DTYPES[Datatype(output.datatype)])
    return array.reshape(output.shape).tolist()


def texts(*elements: str) -> np.ndarray:
    return np.array([element.encode() for element in elements], dtype=np.object_)


# --- server and model questions ---


async def test_server_is_live_and_ready(caller):
    assert (await caller.ask("ServerLive", wire.ServerLiveRequest())).live
    assert (await caller.ask("ServerReady", wire.ServerReadyRequest())).ready


async def test_a_draining_server_is_live_but_not_ready(caller, served):
    served.registry.drain()
    assert (await caller.ask("ServerLive", wire.ServerLiveRequest())).live
    assert not (await caller.ask("ServerReady", wire.ServerReadyRequest())).ready
    assert not (await caller.ask("ModelReady", wire.ModelReadyRequest(name="areas"))).ready


async def test_server_metadata_lists_only_what_works(caller):
    metadata = await caller.ask("ServerMetadata", wire.ServerMetadataRequest())
    assert metadata.name == "attendant"
    assert metadata.version
    assert set(metadata.extensions) == {"classification", "model_configuration", "statistics", "schedule_policy"}


async def test_explicit_control_adds_the_repository_extension(tmp_path):
    settings = make_settings(store={"control": "explicit"})
    async with (
        serving_fakes([text_model()], tmp_path, settings) as served,
        grpc.aio.insecure_channel(served.address) as channel,
    ):
        metadata = await Caller(channel).ask("ServerMetadata", wire.ServerMetadataRequest())
    assert "model_repository" in metadata.extensions


@pytest.mark.parametrize(
    ("name", "version", "ready"),
    [
        ("areas", "", True),
        ("areas", "1", True),
        ("areas", "canary", True),
        ("areas", "9", False),
        ("areas", "stable", False),
        ("nobody", "", False),
        ("../areas", "", False),
        ("", "", False),
    ],
)
async def test_model_ready(caller, name, version, ready):
    assert (await caller.ask("ModelReady", wire.ModelReadyRequest(name=name, version=version))).ready is ready


async def test_metadata_has_the_batch_dimension_first(caller):
    metadata = await caller.ask("ModelMetadata", wire.ModelMetadataRequest(name="areas"))
    assert (metadata.name, list(metadata.versions), metadata.platform) == ("areas", ["1", "2"], "onnxruntime_onnx")
    assert {item.name: (item.datatype, list(item.shape)) for item in metadata.inputs} == {
        "input_ids": ("INT64", [-1, -1]),
        "mask": ("BOOL", [-1, -1]),
    }
    shapes = {item.name: list(item.shape) for item in metadata.outputs}
    assert shapes["logits"] == [-1, 3]
    assert shapes["attention_0"] == [-1, 2, -1, -1]


async def test_config_leaves_the_batch_dimension_out(caller):
    config = (await caller.ask("ModelConfig", wire.ModelConfigRequest(name="areas", version="canary"))).config
    assert (config.name, config.backend, config.max_batch_size) == ("areas", "onnxruntime", 256)
    assert {item.name: list(item.dims) for item in config.input} == {"input_ids": [-1], "mask": [-1]}
    assert [item.optional for item in config.input] == [False, True]
    assert config.input[0].data_type == model_config_pb2.TYPE_INT64
    assert list(config.output[0].dims) == [3]
    assert config.output[0].label_filename == "labels.json"
    assert config.version_policy.WhichOneof("policy_choice") == "all"
    parameters = {name: item.string_value for name, item in config.parameters.items()}
    (variant,) = json.loads(parameters.pop("variants"))
    assert (variant["variant"], variant["threads"]) == ("rows/fp32", 1)
    assert set(variant["seconds"]) == {"fixed_s", "row_s", "token_s", "pair_s"}
    assert parameters == {
        "task": "text-classification",
        "codec_input": "text",
        "attention": "attention_0,attention_1",
        "aliases": "canary",
        "verified": "true",
        "precision": "fp32",
        "precisions": "fp32",
        "calibrated": "false",
    }


async def test_every_datatype_has_a_number_in_the_config(caller):
    for datatype in Datatype:
        name = f"echo_{datatype.value.lower()}"
        config = (await caller.ask("ModelConfig", wire.ModelConfigRequest(name=name))).config
        assert config.input[0].data_type != model_config_pb2.TYPE_INVALID


async def test_repository_index_lists_every_version(caller):
    index = await caller.ask("RepositoryIndex", wire.RepositoryIndexRequest())
    areas = [(item.version, item.state, item.reason) for item in index.models if item.name == "areas"]
    assert areas == [("1", "READY", ""), ("2", "READY", "")]


async def test_statistics_answer_for_one_version_a_model_or_all(caller):
    async def counted(**fields):
        reply = await caller.ask("ModelStatistics", wire.ModelStatisticsRequest(**fields))
        return [(item.name, item.version) for item in reply.model_stats]

    assert await counted(name="areas", version="1") == [("areas", "1")]
    assert await counted(name="areas") == [("areas", "1"), ("areas", "2")]
    assert {("areas", "1"), ("digits", "1")} <= set(await counted())
    unknown = caller.ask("ModelStatistics", wire.ModelStatisticsRequest(name="nobody"))
    assert (await refused(unknown)).reason == "MODEL_NOT_FOUND"


# --- inference ---


@pytest.mark.parametrize("datatype", list(Datatype))
async def test_every_datatype_goes_there_and_back(caller, datatype):
    dtype = NUMPY_DTYPES[datatype]
    array = texts("a", "").reshape(1, 2) if datatype is Datatype.BYTES else np.array([[0, 1, 1]]).astype(dtype)
    request = infer_request(f"echo_{datatype.value.lower()}", x=(datatype, array))
    response = await caller.infer(request)
    assert (response.outputs[0].name, response.outputs[0].datatype) == ("y", datatype.value)
    assert list(response.outputs[0].shape) == list(array.shape)
    assert list(response.raw_output_contents) == list(request.raw_input_contents)


async def test_typed_contents_are_taken(caller):
    request = wire.ModelInferRequest(model_name="echo_fp32")
    item = request.inputs.add(name="x", datatype="FP32", shape=[2, 2])
    item.contents.fp32_contents.extend([1, 2, 3, 4])
    assert floats_of(await caller.infer(request)) == [[1, 2], [3, 4]]


async def test_reply_names_model_version_and_id(caller):
    response = await caller.infer(infer_request("echo_fp32", id="my id", x=floats(1)))
    assert (response.model_name, response.model_version, response.id) == ("echo_fp32", "1", "my id")


async def test_no_id_is_echoed_where_none_came(caller):
    assert (await caller.infer(infer_request("echo_fp32", x=floats(1)))).id == ""


async def test_version_may_be_a_number_or_an_alias_or_the_latest(caller):
    for version, answered in (("1", "1"), ("2", "2"), ("canary", "2"), ("", "2")):
        response = await caller.infer(infer_request("areas", version=version, input_ids=np.array([[1, 2]])))
        assert response.model_version == answered


async def test_attention_is_no_default_output(caller):
    response = await caller.infer(infer_request("areas", input_ids=np.array([[1, 2]])))
    assert [output.name for output in response.outputs] == ["logits", "hidden"]


async def test_outputs_come_in_the_order_asked_for(caller):
    request = infer_request("areas", ("attention_1", "logits"), input_ids=np.array([[1, 3]]))
    response = await caller.infer(request)
    assert [output.name for output in response.outputs] == ["attention_1", "logits"]
    np.testing.assert_allclose(floats_of(response)[0][0], [[3 / 8, 5 / 8]] * 2)


async def test_attention_over_the_bound_is_refused_before_it_is_computed(tmp_path):
    settings = make_settings(security={"max_attention_bytes": 100})
    async with (
        serving_fakes([text_model()], tmp_path, settings) as served,
        grpc.aio.insecure_channel(served.address) as channel,
    ):
        request = infer_request("areas", ("attention_0",), input_ids=np.ones((1, 16), dtype=np.int64))
        refusal = await refused(Caller(channel).infer(request))
        assert (refusal.code, refusal.reason) == (INVALID, "ATTENTION_TOO_LARGE")
        assert refusal.metadata["max_bytes"] == "100"
        assert served.ledger.batches == []


async def test_class_count_gives_scores_with_labels(caller):
    request = infer_request("areas", input_ids=np.array([[1, 2, 5], [3, 3, 4]]))
    request.outputs.add(name="logits").parameters["classification"].int64_param = 2
    response = await caller.infer(request)
    assert (response.outputs[0].datatype, list(response.outputs[0].shape)) == ("BYTES", [2, 2])
    found = split_bytes("", response.raw_output_contents[0], 4).tolist()
    assert found == [b"2.000000:2:two", b"1.000000:1:one", b"2.000000:0:zero", b"1.000000:1:one"]


async def test_class_count_of_bf16_scores_ranks_their_values(caller):
    request = infer_request("echo_bf16", x=(Datatype.BF16, np.array([[0xBF80, 0x4000]], dtype=np.uint16)))
    request.outputs.add(name="y").parameters["classification"].int64_param = 2
    response = await caller.infer(request)
    assert split_bytes("", response.raw_output_contents[0], 2).tolist() == [b"2.000000:1", b"-1.000000:0"]


async def test_classes_of_text_are_refused(caller):
    request = infer_request("echo_bytes", x=texts("a").reshape(1, 1))
    request.outputs.add(name="y").parameters["classification"].int64_param = 2
    assert (await refused(caller.infer(request))).reason == "PARAMETER_INVALID"


# --- content in place of tensors ---


@pytest.mark.parametrize("shape", [(2,), (2, 1)])
async def test_texts_in_place_of_tensors(caller, shape):
    response = await caller.infer(infer_request("areas", text=texts("a b", "a b c e").reshape(shape)))
    assert floats_of(response, 0) == [[0, 1, 1], [1, 1, 2]]
    assert floats_of(response, 1) == [[1, 2, 0, 0], [1, 2, 3, 5]]


async def test_an_image_in_place_of_a_tensor(caller):
    image = np.array([png()], dtype=np.object_)
    assert floats_of(await caller.infer(infer_request("digits", image=image))) == [[0, 1]]


async def test_truncation_of_texts_is_the_callers_choice(caller):
    long = texts(" ".join("b" * 20))
    assert (await refused(caller.infer(infer_request("areas", text=long)))).reason == "SEQUENCE_TOO_LONG"
    request = infer_request("areas", text=long)
    request.parameters["truncation"].string_param = "end"
    assert floats_of(await caller.infer(request)) == [[0, 0, 16]]


@pytest.mark.parametrize(
    ("array", "reason", "input_index"),
    [
        (np.array([b"a", b"\xff\xfe"], dtype=np.object_), "INPUT_UNDECODABLE", "1"),
        (np.array([b"a", b""], dtype=np.object_), "INPUT_EMPTY", "1"),
        (np.array([], dtype=np.object_), "INPUT_EMPTY", None),
        (np.array([[b"a", b"b"]], dtype=np.object_), "SIGNATURE_MISMATCH", None),
        (np.array(b"a", dtype=np.object_), "SIGNATURE_MISMATCH", None),
        (np.array([1], dtype=np.int64), "SIGNATURE_MISMATCH", None),
        (np.array([b"a"] * 257, dtype=np.object_), "TOO_MANY_ROWS", None),
    ],
)
async def test_content_that_cannot_be_used_is_refused(caller, array, reason, input_index):
    refusal = await refused(caller.infer(infer_request("areas", text=array)))
    assert (refusal.code, refusal.reason) == (INVALID, reason)
    assert refusal.metadata.get("input") == input_index


async def test_content_of_a_model_without_a_codec_is_an_unknown_input(caller):
    refusal = await refused(caller.infer(infer_request("echo_fp32", text=texts("a"))))
    assert refusal.reason == "SIGNATURE_MISMATCH"
    assert "text" in refusal.message


# --- fate ---


async def test_a_failing_model_tells_nothing_of_its_cause(caller, caplog):
    refusal = await refused(caller.infer(infer_request("failing", x=floats(1))))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INTERNAL, "INFERENCE_FAILED")
    assert "secret" not in refusal.message
    assert "secret" in caplog.text


async def test_a_call_is_counted_under_its_model_and_reason(caller, served):
    await caller.infer(infer_request("echo_fp32", x=floats(1)))
    await refused(caller.infer(infer_request("nobody", x=floats(1))))
    await refused(caller.send(INFERENCE, "ModelInfer", b"\xff\xff"))
    assert served.ledger.calls == [
        ("ModelInfer", "echo_fp32", 1, "OK"),
        ("ModelInfer", "", 0, "MODEL_NOT_FOUND"),
        ("ModelInfer", "", 0, "MESSAGE_MALFORMED"),
    ]


async def test_a_draining_server_refuses_new_work(caller, served):
    served.registry.drain()
    refusal = await refused(caller.infer(infer_request("echo_fp32", x=floats(1))))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")


@pytest.fixture
async def gated(tmp_path):
    gate = GatedModel()
    async with (
        serving_fakes([gate.model()], tmp_path) as served,
        grpc.aio.insecure_channel(served.address) as channel,
    ):
        try:
            yield gate, served, Caller(channel)
        finally:
            gate.gate.set()


async def test_a_drain_waits_for_running_calls(gated):
    gate, served, caller = gated
    running = asyncio.ensure_future(caller.infer(infer_request("gated", x=floats(7))))
    await asyncio.to_thread(gate.entered.wait, 30)
    assert served.rpc.in_flight == 1
    served.registry.drain()
    draining = asyncio.ensure_future(served.rpc.drain())
    assert (await refused(caller.infer(infer_request("gated", x=floats(1))))).reason == "DRAINING"
    assert not draining.done()
    gate.gate.set()
    assert floats_of(await running) == [[7]]
    await draining
    assert served.rpc.in_flight == 0


async def test_a_client_that_cancels_is_counted_and_forgotten(gated):
    gate, served, caller = gated
    running = asyncio.ensure_future(caller.infer(infer_request("gated", x=floats(7))))
    await asyncio.to_thread(gate.entered.wait, 30)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await served.rpc.drain()
    assert served.ledger.calls == [("ModelInfer", "gated", 1, "CANCELLED")]
    gate.gate.set()
    assert floats_of(await caller.infer(infer_request("gated", x=floats(8)))) == [[8]]


async def test_a_deadline_that_passes_while_running_ends_the_call(gated):
    _, served, caller = gated
    refusal = await refused(caller.infer(infer_request("gated", x=floats(7)), timeout=0.3))
    assert refusal.code is grpc.StatusCode.DEADLINE_EXCEEDED
    await served.rpc.drain()
    assert [call[-1] for call in served.ledger.calls] == ["DEADLINE_EXPIRED"]


async def test_the_timeout_parameter_is_a_deadline(gated):
    _, _, caller = gated
    request = infer_request("gated", x=floats(7))
    request.parameters["timeout"].int64_param = 200_000
    refusal = await refused(caller.infer(request))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXPIRED")


# --- control ---


async def test_load_and_unload_are_switched_off_by_default(caller):
    for method, request in (
        ("RepositoryModelLoad", wire.RepositoryModelLoadRequest(model_name="areas")),
        ("RepositoryModelUnload", wire.RepositoryModelUnloadRequest(model_name="areas")),
    ):
        refusal = await refused(caller.ask(method, request))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNIMPLEMENTED, "NOT_IMPLEMENTED")
        assert "store.control" in refusal.message


@pytest.fixture
async def explicit(tmp_path):
    settings = make_settings(store={"control": "explicit", "models": ("areas",)})
    async with (
        serving_fakes([text_model(), image_model()], tmp_path, settings) as served,
        grpc.aio.insecure_channel(served.address) as channel,
    ):
        yield Caller(channel)


async def test_explicit_control_loads_and_unloads(explicit):
    ready = wire.ModelReadyRequest(name="digits")
    assert not (await explicit.ask("ModelReady", ready)).ready
    await explicit.ask("RepositoryModelLoad", wire.RepositoryModelLoadRequest(model_name="digits"))
    assert (await explicit.ask("ModelReady", ready)).ready
    unload = wire.RepositoryModelUnloadRequest(model_name="digits")
    unload.parameters["unload_dependents"].bool_param = False
    await explicit.ask("RepositoryModelUnload", unload)
    assert not (await explicit.ask("ModelReady", ready)).ready
    refusal = await refused(explicit.ask("ModelConfig", wire.ModelConfigRequest(name="digits")))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "MODEL_NOT_READY")


@pytest.mark.parametrize(
    ("fields", "parameter", "reason"),
    [
        ({"model_name": "nobody"}, None, "MODEL_NOT_FOUND"),
        ({"model_name": "../areas"}, None, "MODEL_NOT_FOUND"),
        ({"model_name": ""}, None, "MODEL_NOT_FOUND"),
        ({"model_name": "areas", "repository_name": "other"}, None, "PARAMETER_INVALID"),
        ({"model_name": "areas"}, "config", "NOT_IMPLEMENTED"),
        ({"model_name": "areas"}, "file:1/model.onnx", "NOT_IMPLEMENTED"),
        ({"model_name": "areas"}, "colour", "PARAMETER_INVALID"),
    ],
)
async def test_a_load_that_cannot_be_is_refused(explicit, fields, parameter, reason):
    request = wire.RepositoryModelLoadRequest(**fields)
    if parameter:
        request.parameters[parameter].string_param = "{}"
    assert (await refused(explicit.ask("RepositoryModelLoad", request))).reason == reason


@pytest.mark.parametrize(
    "method",
    [
        "CudaSharedMemoryStatus",
        "CudaSharedMemoryRegister",
        "CudaSharedMemoryUnregister",
        "TraceSetting",
    ],
)
async def test_the_rest_of_the_protocol_is_not_implemented(caller, method):
    refusal = await refused(caller.send(INFERENCE, method, b""))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNIMPLEMENTED, "NOT_IMPLEMENTED")
    assert method in refusal.message


def test_every_method_of_the_protocol_has_an_answer(tmp_path):
    from server.clock import MonotonicClock
    from server.rpc.calls import Calls
    from server.rpc.open_inference.service import OpenInferenceService
    from tests.support.fakes import Ledger, fake_registry

    settings, ledger = make_settings(), Ledger()

    async def table():
        registry = fake_registry([], tmp_path, settings, ledger, lambda _: None)
        service = OpenInferenceService(registry, settings, MonotonicClock())
        return service.handler(Calls(registry, ledger, MonotonicClock()))

    handler = asyncio.run(table())

    class Details:
        invocation_metadata = ()

        def __init__(self, method: str) -> None:
            self.method = f"/{INFERENCE}/{method}"

    methods = wire.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods
    for method in methods:
        found = handler.service(Details(method.name))
        assert found is not None, method.name
        assert (found.request_streaming, found.response_streaming) == (method.client_streaming, method.server_streaming)
