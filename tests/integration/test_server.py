import asyncio
import gc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
import tritonclient.grpc.aio as triton
from onnx import TensorProto, helper, numpy_helper

from server.store.aliases import move_alias, move_back
from tests.support.graphs import counting_graph, doubling_graph, write_version
from tests.support.serving import Serving, serving

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:tritonclient")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    folder.mkdir()
    return folder


def tensor(name: str, array: np.ndarray, datatype: str) -> triton.InferInput:
    held = triton.InferInput(name, list(array.shape), datatype)
    held.set_data_from_numpy(array)
    return held


async def double(client: triton.InferenceServerClient, version: str = "", *, value: float = 3.0) -> float:
    answer = await client.infer("m", [tensor("x", np.array([[value]], np.float32), "FP32")], model_version=version)
    return float(answer.as_numpy("y")[0, 0])


async def count(client: triton.InferenceServerClient, steps: int, **more) -> int:
    answer = await client.infer("counting", [tensor("steps", np.array([[steps]], np.int64), "INT64")], **more)
    return int(answer.as_numpy("counts")[0, 0])


async def until(condition: Callable[[], bool]) -> None:
    """Waits for something that the server does by itself; bounded, so that a failure is told as one."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


def version_ready(server: Serving, version: int) -> bool:
    return any(e.version == version and e.state == "READY" for e in server.application.registry.index())


async def test_a_new_version_is_noticed_and_no_request_fails_while_it_takes_over(store):
    write_version(store, "m", 1, doubling_graph(2.0))
    async with serving(store) as server, triton.InferenceServerClient(server.address) as client:
        seen: set[float] = set()
        stop = asyncio.Event()

        async def load() -> None:
            while not stop.is_set():
                seen.add(await double(client))

        callers = [asyncio.ensure_future(load()) for _ in range(4)]
        write_version(store, "m", 2, doubling_graph(5.0))
        await until(lambda: version_ready(server, 2) and 15.0 in seen)
        stop.set()
        await asyncio.gather(*callers)
        assert seen == {6.0, 15.0}
        assert await double(client) == 15.0


async def test_a_corrupt_version_is_refused_with_its_reason_while_the_old_one_serves(store):
    write_version(store, "m", 1, doubling_graph())
    async with serving(store) as server, triton.InferenceServerClient(server.address) as client:
        (store / "m" / "2").mkdir()
        (store / "m" / "2" / "model.onnx").write_bytes(b"not a graph")
        await until(
            lambda: any(e.version == 2 and e.reason != "not loaded" for e in server.application.registry.index())
        )
        index = await client.get_model_repository_index(as_json=True)
        broken = next(entry for entry in index["models"] if entry["version"] == "2")
        assert broken["state"] == "UNAVAILABLE"
        assert "not ONNX" in broken["reason"]
        assert await double(client) == 6.0
        body = await scrape(server)
        assert 'attendant_model_load_failures_total{model="m",reason="ARTIFACT_CORRUPT"} 1.0' in body


async def scrape(server: Serving) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(server.metrics_url.rsplit(":", 1)[1]))
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    body = (await reader.read()).decode()
    writer.close()
    await writer.wait_closed()
    return body


async def test_requests_in_flight_finish_on_the_old_version(store):
    write_version(store, "counting", 1, counting_graph())
    async with serving(store) as server, triton.InferenceServerClient(server.address) as client:
        running = asyncio.ensure_future(count(client, 1_000_000))
        await until(lambda: server.application.in_flight == 1)
        write_version(store, "counting", 2, counting_graph())
        await until(lambda: version_ready(server, 2))
        assert await count(client, 5) == 5
        assert await running == 1_000_000


async def test_a_long_run_on_the_old_version_holds_up_no_other_model(store):
    write_version(store, "counting", 1, counting_graph())
    write_version(store, "m", 1, doubling_graph(2.0))
    async with serving(store) as server, triton.InferenceServerClient(server.address) as client:
        endless = asyncio.ensure_future(count(client, 10**12))
        await until(lambda: server.application.in_flight == 1)
        write_version(store, "counting", 2, counting_graph())
        await until(lambda: version_state(server, "counting", 1) == "UNLOADING")
        write_version(store, "m", 2, doubling_graph(5.0))
        await until(lambda: server.application.registry.resolve("m").version == 2)
        assert await double(client) == 15.0
        assert version_state(server, "counting", 1) == "UNLOADING"
        endless.cancel()
        server.application.registry.stop_runs()
        await until(lambda: version_state(server, "counting", 1) == "UNAVAILABLE")


async def test_closing_ends_runs_of_a_version_that_has_been_replaced(store):
    write_version(store, "counting", 1, counting_graph())
    async with serving(store) as server, triton.InferenceServerClient(server.address) as client:
        endless = asyncio.ensure_future(count(client, 10**12))
        await until(lambda: server.application.in_flight == 1)
        write_version(store, "counting", 2, counting_graph())
        await until(lambda: version_state(server, "counting", 1) == "UNLOADING")
        async with asyncio.timeout(20):
            await server.application.close()
        with pytest.raises(triton_error()):
            await endless


def version_state(server: Serving, model: str, version: int) -> str:
    index = server.application.registry.index()
    return next(str(entry.state) for entry in index if (entry.name, entry.version) == (model, version))


async def test_an_alias_moves_and_moves_back(store):
    for version, factor in ((1, 2.0), (2, 5.0)):
        write_version(store, "m", version, doubling_graph(factor))
    move_alias(store / "m", "stable", 1)
    async with serving(store) as server, triton.InferenceServerClient(server.address) as client:
        registry = server.application.registry
        assert await double(client) == 6.0
        assert await double(client, "2") == 15.0
        move_alias(store / "m", "stable", 2)
        await until(lambda: registry.resolve("m").version == 2)
        assert await double(client, "stable") == 15.0
        move_back(store / "m", "stable")
        await until(lambda: registry.resolve("m").version == 1)
        assert await double(client) == 6.0


async def test_several_models_and_versions_serve_at_once(store):
    write_version(store, "m", 1, doubling_graph(2.0))
    write_version(store, "m", 2, doubling_graph(5.0))
    write_version(store, "counting", 1, counting_graph())
    settings = {"version_policies": {"m": "all"}}
    async with serving(store, store=settings) as server, triton.InferenceServerClient(server.address) as client:
        answers = await asyncio.gather(double(client, "1"), double(client, "2"), double(client), count(client, 7))
        assert answers == [6.0, 15.0, 15.0, 7]


async def test_a_store_that_disappears_and_returns_does_no_harm(store):
    write_version(store, "m", 1, doubling_graph(2.0))
    async with serving(store) as server, triton.InferenceServerClient(server.address) as client:
        hidden = store.with_name("hidden")
        store.rename(hidden)
        await asyncio.sleep(0.2)
        assert await double(client) == 6.0
        hidden.rename(store)
        write_version(store, "m", 2, doubling_graph(5.0))
        await until(lambda: version_ready(server, 2))
        assert await double(client) == 15.0


async def test_a_full_queue_refuses_at_once_and_those_inside_are_answered(store):
    write_version(store, "counting", 1, counting_graph())
    settings = {"batching": {"max_queue_rows": 2, "max_batch_rows": 1}, "runtime": {"cores": 1}}
    async with serving(store, **settings) as server, triton.InferenceServerClient(server.address) as client:
        # One runs, one is made ahead for when that ends, two wait.
        running = [asyncio.ensure_future(count(client, 1_000_000)) for _ in range(4)]
        await until(lambda: server.application.in_flight == 4)
        with pytest.raises(triton_error()) as caught:
            await count(client, 1)
        assert "RESOURCE_EXHAUSTED" in caught.value.status()
        assert "2 of 2 rows are waiting" in caught.value.message()
        assert await asyncio.gather(*running) == [1_000_000] * 4
        assert await count(client, 1) == 1


async def test_a_deadline_that_passes_in_the_queue_leaves_the_neighbours_unharmed(store):
    write_version(store, "counting", 1, counting_graph())
    async with serving(store, runtime={"cores": 1}) as server, triton.InferenceServerClient(server.address) as client:
        running = asyncio.ensure_future(count(client, 1_500_000))
        await until(lambda: server.application.in_flight == 1)
        late = asyncio.ensure_future(count(client, 1, client_timeout=0.05))
        neighbour = asyncio.ensure_future(count(client, 2))
        with pytest.raises(triton_error()) as caught:
            await late
        assert "DEADLINE_EXCEEDED" in caught.value.status()
        assert (await running, await neighbour) == (1_500_000, 2)
        await until(lambda: server.application.in_flight == 0)
        assert "DEADLINE_EXPIRED" in await scrape(server) or "CANCELLED" in await scrape(server)


async def test_a_client_that_cancels_leaves_the_queue(store):
    write_version(store, "counting", 1, counting_graph())
    async with serving(store, runtime={"cores": 1}) as server, triton.InferenceServerClient(server.address) as client:
        running = asyncio.ensure_future(count(client, 1_500_000))
        await until(lambda: server.application.in_flight == 1)
        leaving = asyncio.ensure_future(count(client, 1))
        await until(lambda: server.application.in_flight == 2)
        leaving.cancel()
        await until(lambda: server.application.in_flight == 1)
        queue = server.application.registry.resolve("counting").lane.queue
        assert (len(queue), queue.rows) == (0, 0)
        assert await running == 1_500_000


async def test_memory_comes_back_after_unload(store):
    weights = np.zeros((1024, 16 * 1024), np.float32)  # 64 MiB
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "large",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 1024])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 16 * 1024])],
        [numpy_helper.from_array(weights, "w")],
    )
    write_version(store, "large", 1, graph)
    del graph, weights
    process = psutil.Process()
    async with serving(store, store={"control": "explicit"}) as server:
        registry = server.application.registry

        async def cycle() -> int:
            await registry.load("large")
            loaded = process.memory_info().rss
            await registry.unload("large")
            gc.collect()
            assert loaded - process.memory_info().rss > 50 * 1024**2
            return process.memory_info().rss

        first = await cycle()
        last = [await cycle() for _ in range(4)][-1]
        assert last - first < 32 * 1024**2


async def test_what_is_not_ready_says_so_until_the_models_are_loaded(store):
    write_version(store, "m", 1, doubling_graph())
    async with serving(store) as server, triton.InferenceServerClient(server.address) as client:
        assert await client.is_server_ready()
        assert await client.is_model_ready("m")
        server.application.registry.drain()
        assert not await client.is_server_ready()
        with pytest.raises(triton_error()) as caught:
            await double(client)
        assert "UNAVAILABLE" in caught.value.status()
        assert await client.is_server_live()


async def test_neighbours_of_a_failing_request_get_their_answers(store):
    """Gather with an index out of range fails inside the session, whatever admission could know."""
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "ids"], ["y"])],
        "lookup",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["rows", 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 1])],
        [numpy_helper.from_array(np.arange(4, dtype=np.float32), "table")],
    )
    write_version(store, "lookup", 1, graph)
    write_version(store, "counting", 1, counting_graph())
    async with serving(store, runtime={"cores": 1}) as server, triton.InferenceServerClient(server.address) as client:

        async def look_up(index: int) -> float:
            answer = await client.infer("lookup", [tensor("ids", np.array([[index]], np.int64), "INT64")])
            return float(answer.as_numpy("y")[0, 0])

        blocking = asyncio.ensure_future(count(client, 1_000_000))
        await until(lambda: server.application.in_flight == 1)
        results = await asyncio.gather(look_up(1), look_up(99), look_up(3), return_exceptions=True)
        await blocking
        assert (results[0], results[2]) == (1.0, 3.0)
        assert "INTERNAL" in results[1].status()
        assert "Gather" not in results[1].message()
        assert "idx" not in results[1].message()


def triton_error() -> type[Exception]:
    from tritonclient.utils import InferenceServerException

    return InferenceServerException
