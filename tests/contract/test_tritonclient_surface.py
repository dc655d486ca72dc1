"""Every public method of NVIDIA's client and of its asyncio twin, against a real server with everything switched on.

A method that a newer client brings fails here by name until it is exercised.
"""

import inspect
import logging
import queue
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.grpc.auth import BasicAuth
from tritonclient.utils import InferenceServerException, shared_memory

from tests.support.contract_store import write_contract_store
from tests.support.serving import Serving
from tests.support.serving_thread import serving_in_thread

ROW = np.array([[1, 2]], np.float32)


@pytest.fixture(scope="module")
def served(tmp_path_factory) -> Iterator[Serving]:
    store = write_contract_store(tmp_path_factory.mktemp("store"))
    groups = {
        "store": {"control": "explicit", "models": ("areas", "echo_fp32")},
        "security": {"system_shared_memory": True, "log_control": True},
    }
    root, own = logging.getLogger(), logging.getLogger("server")
    handlers, levels = list(root.handlers), (root.level, own.level)
    with serving_in_thread(store, **groups) as running:
        yield running
    root.handlers = handlers
    root.setLevel(levels[0])
    own.setLevel(levels[1])
    logging.captureWarnings(False)


@pytest.fixture
def client(served) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(served.address) as made:
        yield made


@pytest.fixture
async def aio_client(served) -> AsyncIterator[triton_aio.InferenceServerClient]:
    async with triton_aio.InferenceServerClient(served.address) as made:
        yield made


class Recorded:
    """A client that keeps the names of the methods asked of it."""

    def __init__(self, client: object) -> None:
        self._client = client
        self.asked: set[str] = set()

    def __getattr__(self, name: str) -> object:
        self.asked.add(name)
        return getattr(self._client, name)


def public_methods(kind: type) -> set[str]:
    return {name for name, _ in inspect.getmembers(kind, callable) if not name.startswith("_")}


def row(array: np.ndarray = ROW) -> triton.InferInput:
    made = triton.InferInput("x", list(array.shape), "FP32")
    made.set_data_from_numpy(array)
    return made


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(InferenceServerException) as caught:
        call()
    return str(caught.value.status()).removeprefix("StatusCode.")


async def refused_aio(call: Awaitable[object]) -> str:
    with pytest.raises(InferenceServerException) as caught:
        await call
    return str(caught.value.status()).removeprefix("StatusCode.")


# --- the blocking client ---


def plugins(client: triton.InferenceServerClient) -> None:
    plugin = BasicAuth("user", "password")
    client.register_plugin(plugin)
    assert client.plugin() is plugin
    assert client.is_server_live()
    client.unregister_plugin()
    assert client.plugin() is None


def infer(client: triton.InferenceServerClient) -> None:
    assert client.infer("echo_fp32", [row()]).as_numpy("y").tolist() == ROW.tolist()


def async_infer(client: triton.InferenceServerClient) -> None:
    answers: queue.Queue = queue.Queue()
    handle = client.async_infer("echo_fp32", [row()], lambda result, error: answers.put((result, error)))
    result, error = answers.get(timeout=30)
    assert (result.as_numpy("y").tolist(), error) == (ROW.tolist(), None)
    assert not handle.cancel()


def stream(client: triton.InferenceServerClient) -> None:
    answers: queue.Queue = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)))
    for number, model in enumerate(("echo_fp32", "nobody", "echo_fp32")):
        client.async_stream_infer(
            model, [row(ROW * number)], request_id=str(number), enable_empty_final_response=True, priority=1
        )
    client.stop_stream()
    (first, _), (nothing, error), (last, _) = [answers.get(timeout=30) for _ in range(3)]
    assert [result.get_response().id for result in (first, last)] == ["0", "2"]
    assert last.as_numpy("y").tolist() == (ROW * 2).tolist()
    assert last.get_response().parameters["triton_final_response"].bool_param
    assert nothing is None
    assert "nobody" in error.message()
    assert answers.empty()


def cancelled_stream(client: triton.InferenceServerClient) -> None:
    answers: queue.Queue = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)))
    client.async_stream_infer("echo_fp32", [row()])
    assert answers.get(timeout=30)[1] is None
    client.stop_stream(cancel_requests=True)
    _, error = answers.get(timeout=30)
    assert error.status() == "StatusCode.CANCELLED"


def system_shared_memory(client: triton.InferenceServerClient) -> None:
    key = f"/attendant-{uuid.uuid4().hex}"
    handle = shared_memory.create_shared_memory_region("tensors", key, 64)
    try:
        client.unregister_system_shared_memory("tensors")
        shared_memory.set_shared_memory_region(handle, [ROW])
        client.register_system_shared_memory("tensors", key, 64)
        regions = client.get_system_shared_memory_status(as_json=True)["regions"]
        assert regions == {"tensors": {"name": "tensors", "key": key, "byte_size": "64"}}
        item = triton.InferInput("x", [1, 2], "FP32")
        item.set_shared_memory("tensors", 8)
        wanted = triton.InferRequestedOutput("y")
        wanted.set_shared_memory("tensors", 8, offset=32)
        output = client.infer("echo_fp32", [item], outputs=[wanted]).get_output("y")
        found = shared_memory.get_contents_as_numpy(handle, np.float32, output.shape, offset=32)
        assert found.tolist() == ROW.tolist()
        del found
        client.unregister_system_shared_memory()
        assert not client.get_system_shared_memory_status().regions
    finally:
        shared_memory.destroy_shared_memory_region(handle)


def log_settings(client: triton.InferenceServerClient) -> None:
    before = client.get_log_settings(as_json=True)["settings"]
    assert before["log_info"] == {"bool_param": True}
    after = client.update_log_settings({"log_verbose_level": 1, "log_format": "text"}, as_json=True)["settings"]
    assert (after["log_verbose_level"], after["log_format"]) == ({"uint32_param": 1}, {"string_param": "text"})
    assert logging.getLogger("server").level == logging.DEBUG
    client.update_log_settings({"log_verbose_level": None, "log_format": None})
    assert client.get_log_settings(as_json=True)["settings"] == before
    assert refused(lambda: client.update_log_settings({"log_file": "/tmp/log"})) == "INVALID_ARGUMENT"


def model_control(client: triton.InferenceServerClient) -> None:
    client.load_model("echo_int8")
    assert client.is_model_ready("echo_int8")
    client.unload_model("echo_int8")
    assert not client.is_model_ready("echo_int8")


def closed(client: triton.InferenceServerClient) -> None:
    client.close()
    with pytest.raises(ValueError, match="closed channel"):
        client.is_server_live()


def is_true(answer: object) -> None:
    assert answer is True


def is_refused(call: Callable[[], object]) -> None:
    assert refused(call) == "UNIMPLEMENTED"


BLOCKING: dict[str, Callable[[triton.InferenceServerClient], None]] = {
    "async_infer": async_infer,
    "async_stream_infer": stream,
    "close": closed,
    "get_cuda_shared_memory_status": lambda client: is_refused(client.get_cuda_shared_memory_status),
    "get_inference_statistics": lambda client: is_true(bool(client.get_inference_statistics().model_stats)),
    "get_log_settings": log_settings,
    "get_model_config": lambda client: is_true(client.get_model_config("areas").config.name == "areas"),
    "get_model_metadata": lambda client: is_true(client.get_model_metadata("areas").name == "areas"),
    "get_model_repository_index": lambda client: is_true(bool(client.get_model_repository_index().models)),
    "get_server_metadata": lambda client: is_true("logging" in client.get_server_metadata().extensions),
    "get_system_shared_memory_status": system_shared_memory,
    "get_trace_settings": lambda client: is_refused(client.get_trace_settings),
    "infer": infer,
    "is_model_ready": lambda client: is_true(client.is_model_ready("areas")),
    "is_server_live": lambda client: is_true(client.is_server_live()),
    "is_server_ready": lambda client: is_true(client.is_server_ready()),
    "load_model": model_control,
    "plugin": plugins,
    "register_cuda_shared_memory": lambda client: is_refused(
        lambda: client.register_cuda_shared_memory("r", b"", 0, 8)
    ),
    "register_plugin": plugins,
    "register_system_shared_memory": system_shared_memory,
    "start_stream": stream,
    "stop_stream": cancelled_stream,
    "unload_model": model_control,
    "unregister_cuda_shared_memory": lambda client: is_refused(client.unregister_cuda_shared_memory),
    "unregister_plugin": plugins,
    "unregister_system_shared_memory": system_shared_memory,
    "update_log_settings": log_settings,
    "update_trace_settings": lambda client: is_refused(
        lambda: client.update_trace_settings(settings={"trace_level": ["TIMESTAMPS"]})
    ),
}


def test_every_method_of_the_blocking_client_is_exercised():
    assert BLOCKING.keys() == public_methods(triton.InferenceServerClient)


@pytest.mark.parametrize("method", BLOCKING)
def test_blocking(client, method):
    recorded = Recorded(client)
    BLOCKING[method](recorded)
    assert method in recorded.asked


# --- its asyncio twin ---


async def aio_plugins(client: triton_aio.InferenceServerClient) -> None:
    plugin = BasicAuth("user", "password")
    client.register_plugin(plugin)
    assert client.plugin() is plugin
    assert await client.is_server_live()
    client.unregister_plugin()
    assert client.plugin() is None


async def aio_infer(client: triton_aio.InferenceServerClient) -> None:
    assert (await client.infer("echo_fp32", [row()])).as_numpy("y").tolist() == ROW.tolist()


async def aio_stream(client: triton_aio.InferenceServerClient) -> None:
    async def requests():
        for number, model in enumerate(("echo_fp32", "nobody", "echo_fp32")):
            yield {"model_name": model, "inputs": [row(ROW * number)], "request_id": str(number)}

    (first, _), (nothing, error), (last, _) = [answer async for answer in client.stream_infer(requests())]
    assert [result.get_response().id for result in (first, last)] == ["0", "2"]
    assert last.as_numpy("y").tolist() == (ROW * 2).tolist()
    assert nothing is None
    assert "nobody" in error.message()


async def aio_system_shared_memory(client: triton_aio.InferenceServerClient) -> None:
    key = f"/attendant-{uuid.uuid4().hex}"
    handle = shared_memory.create_shared_memory_region("tensors", key, 64)
    try:
        shared_memory.set_shared_memory_region(handle, [ROW])
        await client.register_system_shared_memory("tensors", key, 64)
        assert list((await client.get_system_shared_memory_status("tensors")).regions) == ["tensors"]
        assert await refused_aio(client.get_system_shared_memory_status("others")) == "NOT_FOUND"
        assert await refused_aio(client.register_system_shared_memory("tensors", key, 64)) == "ALREADY_EXISTS"
        item = triton.InferInput("x", [1, 2], "FP32")
        item.set_shared_memory("tensors", 8)
        assert (await client.infer("echo_fp32", [item])).as_numpy("y").tolist() == ROW.tolist()
        await client.unregister_system_shared_memory("tensors")
        assert not (await client.get_system_shared_memory_status()).regions
    finally:
        shared_memory.destroy_shared_memory_region(handle)


async def aio_log_settings(client: triton_aio.InferenceServerClient) -> None:
    before = await client.get_log_settings()
    after = await client.update_log_settings({"log_info": False})
    assert not after.settings["log_info"].bool_param
    assert logging.getLogger("server").level == logging.WARNING
    assert await client.update_log_settings({"log_info": True}) == before


async def aio_model_control(client: triton_aio.InferenceServerClient) -> None:
    await client.load_model("echo_int8")
    assert await client.is_model_ready("echo_int8")
    await client.unload_model("echo_int8")
    assert not await client.is_model_ready("echo_int8")


async def aio_questions(client: triton_aio.InferenceServerClient) -> None:
    assert await client.is_server_live()
    assert await client.is_server_ready()
    assert await client.is_model_ready("areas")
    assert (await client.get_server_metadata()).name == "attendant"
    assert (await client.get_model_metadata("areas")).name == "areas"
    assert (await client.get_model_config("areas")).config.name == "areas"
    assert (await client.get_model_repository_index()).models
    assert (await client.get_inference_statistics()).model_stats


async def aio_not_offered(client: triton_aio.InferenceServerClient) -> None:
    for call in (
        client.get_cuda_shared_memory_status(),
        client.register_cuda_shared_memory("r", b"", 0, 8),
        client.unregister_cuda_shared_memory(),
        client.get_trace_settings(),
        client.update_trace_settings(settings={"trace_level": ["TIMESTAMPS"]}),
    ):
        assert await refused_aio(call) == "UNIMPLEMENTED"


async def aio_closed(client: triton_aio.InferenceServerClient) -> None:
    await client.close()
    with pytest.raises(grpc.aio.UsageError, match="closed"):
        await client.is_server_live()


ASYNCIO: dict[str, Callable[[triton_aio.InferenceServerClient], Awaitable[None]]] = {
    "close": aio_closed,
    "get_cuda_shared_memory_status": aio_not_offered,
    "get_inference_statistics": aio_questions,
    "get_log_settings": aio_log_settings,
    "get_model_config": aio_questions,
    "get_model_metadata": aio_questions,
    "get_model_repository_index": aio_questions,
    "get_server_metadata": aio_questions,
    "get_system_shared_memory_status": aio_system_shared_memory,
    "get_trace_settings": aio_not_offered,
    "infer": aio_infer,
    "is_model_ready": aio_questions,
    "is_server_live": aio_questions,
    "is_server_ready": aio_questions,
    "load_model": aio_model_control,
    "plugin": aio_plugins,
    "register_cuda_shared_memory": aio_not_offered,
    "register_plugin": aio_plugins,
    "register_system_shared_memory": aio_system_shared_memory,
    "stream_infer": aio_stream,
    "unload_model": aio_model_control,
    "unregister_cuda_shared_memory": aio_not_offered,
    "unregister_plugin": aio_plugins,
    "unregister_system_shared_memory": aio_system_shared_memory,
    "update_log_settings": aio_log_settings,
    "update_trace_settings": aio_not_offered,
}


def test_every_method_of_the_asyncio_client_is_exercised():
    assert ASYNCIO.keys() == public_methods(triton_aio.InferenceServerClient)


@pytest.mark.parametrize("method", ASYNCIO)
async def test_asyncio(aio_client, method):
    recorded = Recorded(aio_client)
    await ASYNCIO[method](recorded)
    assert method in recorded.asked
