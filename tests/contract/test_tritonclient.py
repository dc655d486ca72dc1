"""NVIDIA's own client, unmodified, against the real server: blocking and asyncio."""

import asyncio
import json
import queue

import grpc
import ml_dtypes
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.utils import InferenceServerException

from server.tensors import NUMPY_DTYPES, Datatype
from tests.support.contract_store import write_contract_store
from tests.support.serving_thread import serving_in_thread


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return write_contract_store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def address(store):
    with serving_in_thread(store) as served:
        yield served.address


@pytest.fixture
def client(address):
    with triton.InferenceServerClient(address) as client:
        yield client


@pytest.fixture
async def aio_client(address):
    async with triton_aio.InferenceServerClient(address) as client:
        yield client


def example(datatype: Datatype) -> np.ndarray:
    """[2, 2] values at the ends of the datatype's range, in the dtype in which the client takes them."""
    if datatype is Datatype.BYTES:
        return np.array([[b"a", b""], [b"b\nc", "größer".encode()]], dtype=np.object_)
    if datatype is Datatype.BOOL:
        return np.array([[True, False], [False, True]])
    if datatype is Datatype.BF16:
        return np.array([[0, -1.5], [3.25, np.inf]], dtype=ml_dtypes.bfloat16)
    dtype = NUMPY_DTYPES[datatype]
    bounds = np.iinfo(dtype) if dtype.kind in "iu" else np.finfo(dtype)
    return np.array([[0, 1], [bounds.min, bounds.max]], dtype=dtype)


def tensor(name: str, datatype: str, array: np.ndarray) -> triton.InferInput:
    found = triton.InferInput(name, list(array.shape), datatype)
    found.set_data_from_numpy(array)
    return found


def echo_input() -> triton.InferInput:
    return tensor("x", "FP32", np.array([[1, 2]], dtype=np.float32))


def texts(*rows: str) -> triton.InferInput:
    return tensor("text", "BYTES", np.array([row.encode() for row in rows], dtype=np.object_))


def ids(*rows: list[int]) -> triton.InferInput:
    return tensor("input_ids", "INT64", np.array(rows, dtype=np.int64))


def test_liveness_and_readiness(client):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("areas")
    assert client.is_model_ready("areas", "1")
    assert not client.is_model_ready("areas", "2")
    assert not client.is_model_ready("nobody")


def test_server_metadata(client):
    metadata = client.get_server_metadata(as_json=True)
    assert metadata["name"] == "attendant"
    assert "classification" in metadata["extensions"]


def test_model_metadata_has_the_batch_dimension(client):
    metadata = client.get_model_metadata("areas", as_json=True)
    assert metadata["versions"] == ["1"]
    assert metadata["inputs"][0] == {"name": "input_ids", "datatype": "INT64", "shape": ["-1", "-1"]}
    assert {output["name"]: output["shape"] for output in metadata["outputs"]}["logits"] == ["-1", "3"]


def test_model_config_leaves_the_batch_dimension_out(client):
    config = client.get_model_config("areas", as_json=True)["config"]
    assert config["max_batch_size"] == 256
    assert config["input"][0]["dims"] == ["-1"]
    assert config["input"][0]["data_type"] == "TYPE_INT64"
    assert config["output"][0]["dims"] == ["3"]


@pytest.mark.parametrize("datatype", list(Datatype))
def test_numpy_goes_there_and_back(client, datatype):
    array = example(datatype)
    result = client.infer(f"echo_{datatype.value.lower()}", [tensor("x", datatype.value, array)])
    found = result.as_numpy("y")
    assert found.shape == array.shape
    assert found.dtype == array.dtype
    assert found.tolist() == array.tolist()


def test_typed_contents_are_taken(client):
    item = triton.InferInput("x", [1, 2], "FP32")
    item._get_tensor().contents.fp32_contents.extend([1, 2])
    assert client.infer("echo_fp32", [item]).as_numpy("y").tolist() == [[1, 2]]


def test_named_outputs_and_request_id(client):
    wanted = [triton.InferRequestedOutput(name) for name in ("attention_0", "logits")]
    result = client.infer("areas", [ids([1, 2, 3])], outputs=wanted, request_id="mine", model_version="1")
    response = result.get_response()
    assert (response.id, response.model_name, response.model_version) == ("mine", "areas", "1")
    assert [output.name for output in response.outputs] == ["attention_0", "logits"]
    np.testing.assert_allclose(result.as_numpy("attention_0"), np.full((1, 2, 3, 3), 1 / 3), rtol=1e-6)
    assert result.as_numpy("hidden") is None


def test_default_outputs_leave_attention_out(client):
    result = client.infer("areas", [ids([1, 2, 3])])
    assert {output.name for output in result.get_response().outputs} == {"logits", "hidden"}


def test_class_count(client):
    wanted = [triton.InferRequestedOutput("logits", class_count=2)]
    found = client.infer("areas", [ids([2, 2, 1], [0, 3, 4])], outputs=wanted).as_numpy("logits")
    assert found.tolist() == [
        [b"2.000000:2:two", b"1.000000:1:one"],
        [b"2.000000:0:zero", b"1.000000:1:one"],
    ]


def test_text_in_place_of_tensors(client):
    result = client.infer("areas", [texts("a b", "b b e c")])
    assert result.as_numpy("logits").tolist() == [[0, 1, 1], [1, 0, 3]]


def test_parameters_that_the_client_sets_by_itself_are_understood(client):
    result = client.infer("echo_fp32", [echo_input()], priority=1, timeout=10_000_000, client_timeout=10)
    assert result.as_numpy("y").tolist() == [[1, 2]]


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_compressed_requests_are_read(client, algorithm):
    result = client.infer("echo_fp32", [echo_input()], compression_algorithm=algorithm)
    assert result.as_numpy("y").tolist() == [[1, 2]]


def test_asynchronous_calls_of_the_blocking_client(client):
    answers: queue.Queue = queue.Queue()
    client.async_infer("echo_fp32", [echo_input()], callback=lambda result, error: answers.put((result, error)))
    result, error = answers.get(timeout=30)
    assert error is None
    assert result.as_numpy("y").tolist() == [[1, 2]]


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda client: client.infer("nobody", [echo_input()]), "NOT_FOUND"),
        (lambda client: client.infer("echo_fp32", [echo_input()], model_version="7"), "NOT_FOUND"),
        (lambda client: client.infer("echo_fp64", [echo_input()]), "INVALID_ARGUMENT"),
        (lambda client: client.infer("echo_fp32", [echo_input()], parameters={"colour": 1}), "INVALID_ARGUMENT"),
        (lambda client: client.infer("echo_fp32", [echo_input()], sequence_id=3), "UNIMPLEMENTED"),
        (lambda client: client.get_model_config("nobody"), "NOT_FOUND"),
        (lambda client: client.load_model("areas"), "UNIMPLEMENTED"),
        (lambda client: client.get_system_shared_memory_status(), "UNIMPLEMENTED"),
        (lambda client: client.get_trace_settings(), "UNIMPLEMENTED"),
        (lambda client: client.update_log_settings({"log_info": False}), "UNIMPLEMENTED"),
    ],
)
def test_errors_carry_the_code(client, call, code):
    with pytest.raises(InferenceServerException) as caught:
        call(client)
    assert caught.value.status() == f"StatusCode.{code}"
    assert caught.value.message()


def test_statistics_count_what_was_inferred(client):
    def count() -> dict:
        (found,) = client.get_inference_statistics("echo_int8", as_json=True)["model_stats"]
        return found

    before = int(count().get("inference_count", 0))
    rows = np.zeros((3, 1), dtype=np.int8)
    client.infer("echo_int8", [tensor("x", "INT8", rows)])
    after = count()
    assert int(after["inference_count"]) == before + 3
    assert int(after["inference_stats"]["success"]["count"]) >= 1
    assert int(after["inference_stats"]["compute_infer"]["ns"]) > 0
    assert "3" in [batch["batch_size"] for batch in after["batch_stats"]]


def test_repository_index(client):
    index = client.get_model_repository_index(as_json=True)["models"]
    assert {"name": "areas", "version": "1", "state": "READY"} in index
    assert len(index) == 1 + len(Datatype)


def test_load_and_unload_in_explicit_mode(store):
    with (
        serving_in_thread(store, store={"control": "explicit"}) as served,
        triton.InferenceServerClient(served.address) as client,
    ):
        assert not client.is_model_ready("areas")
        client.load_model("areas")
        assert client.is_model_ready("areas")
        client.unload_model("areas")
        assert not client.is_model_ready("areas")
        with pytest.raises(InferenceServerException, match="from the store"):
            client.load_model("areas", config=json.dumps({"max_batch_size": 1}))


# --- asyncio ---


@pytest.mark.parametrize("datatype", list(Datatype))
async def test_aio_numpy_goes_there_and_back(aio_client, datatype):
    array = example(datatype)
    result = await aio_client.infer(f"echo_{datatype.value.lower()}", [tensor("x", datatype.value, array)])
    assert result.as_numpy("y").tolist() == array.tolist()


async def test_aio_questions(aio_client):
    assert await aio_client.is_server_live()
    assert await aio_client.is_server_ready()
    assert await aio_client.is_model_ready("areas")
    assert (await aio_client.get_server_metadata()).name == "attendant"
    assert (await aio_client.get_model_metadata("areas")).inputs[0].name == "input_ids"
    assert (await aio_client.get_model_config("areas")).config.max_batch_size == 256
    assert len((await aio_client.get_model_repository_index()).models) == 1 + len(Datatype)
    assert (await aio_client.get_inference_statistics("areas")).model_stats[0].name == "areas"


async def test_aio_many_calls_at_once_get_their_own_answers(aio_client):
    async def one(number: int) -> float:
        array = np.array([[number] * (number % 5 + 1)], dtype=np.float32)
        result = await aio_client.infer("echo_fp32", [tensor("x", "FP32", array)], request_id=str(number))
        assert result.get_response().id == str(number)
        assert result.as_numpy("y").tolist() == array.tolist()
        return float(result.as_numpy("y")[0, 0])

    assert await asyncio.gather(*(one(number) for number in range(50))) == list(range(50))


async def test_aio_errors_carry_the_code(aio_client):
    with pytest.raises(InferenceServerException) as caught:
        await aio_client.infer("nobody", [echo_input()])
    assert caught.value.status() == "StatusCode.NOT_FOUND"


async def test_aio_many_requests_of_a_stream_are_answered_in_order(aio_client):
    async def requests():
        for number in range(100):
            array = np.array([[number] * (number % 5 + 1)], dtype=np.float32)
            yield {"model_name": "echo_fp32", "inputs": [tensor("x", "FP32", array)], "request_id": str(number)}

    answers = [result async for result, _ in aio_client.stream_infer(requests())]
    assert [result.get_response().id for result in answers] == [str(number) for number in range(100)]
    assert [result.as_numpy("y")[0, 0] for result in answers] == list(range(100))


async def test_aio_a_stream_ends_with_the_status_where_the_header_asks_for_it(aio_client):
    async def requests():
        yield {"model_name": "nobody", "inputs": [echo_input()]}

    # This client does not translate errors of streams into its own.
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in aio_client.stream_infer(requests(), headers={"triton_grpc_error": "true"}):
            pass
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
