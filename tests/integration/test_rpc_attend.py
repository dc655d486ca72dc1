"""Attend at a real server over published bundles, by both clients, by raw messages and by tritonclient."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from attendant import AsyncClient, Client, InvalidInput, NotFound, NotSupported, TooLarge
from attendant.v1 import attend_pb2

from tests.support.bundles import publish_tiny
from tests.support.calls import ATTENDANT, Caller, classify_request, infer_request, refused
from tests.support.graphs import counting_graph, write_version
from tests.support.mechanisms import FAMILY, FIELDS, expected, made_up
from tests.support.serving import Serving, rows_not_begun, serving
from tests.support.serving_thread import serving_in_thread

TOLERANCE = {"atol": 1e-5, "rtol": 1e-5}
SETTINGS = {"security": {"max_attention_bytes": 4 * 100_000, "max_inputs": 16}, "runtime": {"cores": 1}}


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("attend") / "store"
    for name in FAMILY:
        publish_tiny(folder, name, alias="stable")
    publish_tiny(folder, "digits")
    write_version(folder, "counting", 1, counting_graph())
    return folder


@pytest.fixture(scope="module")
def address(store) -> Iterator[str]:
    with serving_in_thread(store, **{group: dict(values) for group, values in SETTINGS.items()}) as running:
        yield running.address


@pytest.fixture
def client(address) -> Iterator[Client]:
    with Client(address) as client:
        yield client


def ask(client, given, **options):
    arguments = [given.get(name) for name in FIELDS]
    return client.attend(*arguments, parameters={k: v for k, v in given.items() if k not in FIELDS}, **options)


def assert_right(model, given, answer):
    context, weights = expected(model, given)
    np.testing.assert_allclose(answer.context, context, **TOLERANCE)
    np.testing.assert_allclose(answer.weights, weights, **TOLERANCE)


# --- answers ---


@pytest.mark.parametrize("model", FAMILY)
@pytest.mark.parametrize("masked", [False, True])
def test_every_mechanism_answers_by_its_formula(client, model, masked):
    rng = np.random.default_rng(FAMILY.index(model))
    for queries, keys, width in ((1, 1, 1), (3, 5, 4), (6, 2, 9)):
        given = made_up(model, rng, queries, keys, width=width, masked=masked)
        result = ask(client, given, model=model)
        assert (result.model.name, result.model.version, result.model.alias) == (model, 1, "stable")
        assert_right(model, given, result[0])


def test_scaled_dot_product_answers_where_no_model_is_named(address):
    given = made_up("attend", np.random.default_rng(0), 2, 3)
    fields = {name: attend_pb2.Tensor(shape=array.shape, values=array.tobytes()) for name, array in given.items()}
    request = attend_pb2.AttendRequest(inputs=[attend_pb2.AttendInput(**fields)], request_id="mine")
    with grpc.insecure_channel(address) as channel:
        content = channel.unary_unary(f"/{ATTENDANT}/Attend")(request.SerializeToString())
    reply = attend_pb2.AttendResponse.FromString(content)
    assert (reply.model.name, reply.request_id) == ("attend", "mine")
    weights = np.frombuffer(reply.results[0].weights.values, "<f4").reshape(reply.results[0].weights.shape)
    np.testing.assert_allclose(weights, expected("attend", given)[1], **TOLERANCE)
    assert reply.timing.request_s > 0
    assert reply.results[0].timing.batch_rows >= 1


def test_a_query_that_may_attend_to_nothing_gets_zeros(client):
    given = made_up("attend", np.random.default_rng(1), 3, 4)
    for mask in (np.zeros((3, 4), bool), np.array([[True] * 4, [False] * 4, [True] * 4])):
        (answer,) = ask(client, {**given, "mask": mask})
        assert not answer.context[1].any()
        assert not answer.weights[1].any()
        assert_right("attend", {**given, "mask": mask}, answer)


def test_several_inputs_of_their_own_sizes_and_widths_come_back_in_order(client):
    rng = np.random.default_rng(2)
    sizes = [(1, 7, 2), (5, 2, 3), (9, 9, 2), (2, 1, 8)]
    given = [made_up("attend", rng, queries, keys, width=width) for queries, keys, width in sizes]
    result = client.attend(*([each[name] for each in given] for name in FIELDS[:3]))
    for one, answer in zip(given, result, strict=True):
        assert_right("attend", one, answer)


async def test_asyncio_client_answers_the_same(address):
    given = made_up("attend-bilinear", np.random.default_rng(3), 4, 3)
    async with AsyncClient(address) as client:
        result = await client.attend(
            given["query"],
            given["key"],
            given["value"],
            model="attend-bilinear",
            parameters={"weight": given["weight"]},
            alias="stable",
        )
    assert_right("attend-bilinear", given, result[0])


@pytest.mark.parametrize("model", ["attend", "attend-multi-head"])
def test_model_infer_takes_the_same_inputs_and_the_mask_may_be_left_out(address, model):
    given = made_up(model, np.random.default_rng(4), 3, 5)
    inputs = []
    for name, array in given.items():
        inputs.append(triton.InferInput(name, [1, *array.shape], "FP32"))
        inputs[-1].set_data_from_numpy(array[None])
    client = triton.InferenceServerClient(address)
    try:
        context, weights = expected(model, given)
        plain = client.infer(model, inputs)
        assert [output.name for output in plain.get_response().outputs] == ["context"]
        np.testing.assert_allclose(plain.as_numpy("context")[0], context, **TOLERANCE)
        wanted = [triton.InferRequestedOutput(name) for name in ("context", "weights")]
        full = client.infer(model, inputs, outputs=wanted).as_numpy("weights")
        np.testing.assert_allclose(full[0] if model == "attend-multi-head" else full[0, 0], weights, **TOLERANCE)
    finally:
        client.close()


# --- batching ---


@pytest.mark.parametrize("model", FAMILY)
async def test_callers_of_mixed_sizes_run_together_and_get_what_they_get_alone(store, model):
    rng = np.random.default_rng(5)
    sizes = [(int(rng.integers(1, 9)), int(rng.integers(1, 9))) for _ in range(16)]
    given = [made_up(model, rng, queries, keys, masked=bool(n % 2)) for n, (queries, keys) in enumerate(sizes)]
    settings = {"runtime": {"cores": 1}}
    async with serving(store, **settings) as server, AsyncClient(server.address, timeout_s=60) as client:
        async with waiting_rows(server, len(given)):
            calls = [asyncio.ensure_future(ask(client, one, model=model)) for one in given]
        results = [await call for call in calls]
    assert max(result.timing.batch_rows for result in results) > 1
    for one, result in zip(given, results, strict=True):
        assert_right(model, one, result[0])


async def test_inputs_of_other_widths_never_share_a_run(store):
    rng = np.random.default_rng(6)
    given = [made_up("attend", rng, 3, 3, width=width) for width in range(1, 6)]
    async with serving(store, runtime={"cores": 1}) as server, AsyncClient(server.address, timeout_s=60) as client:
        async with waiting_rows(server, len(given)):
            calls = [asyncio.ensure_future(ask(client, one)) for one in given]
        results = [await call for call in calls]
    assert [result.timing.batch_rows for result in results] == [1] * len(given)


class waiting_rows:  # noqa: N801 - used as a function
    """Keeps the only core busy until this many rows wait, so that they run together whatever the machine does."""

    def __init__(self, server: Serving, rows: int) -> None:
        self._server, self._rows = server, rows
        self._registry = server.application.registry

    async def __aenter__(self) -> None:
        self._channel = grpc.aio.insecure_channel(self._server.address)
        blocking = infer_request("counting", steps=np.array([[10**12]], dtype=np.int64))
        self._blocked = asyncio.ensure_future(refused(Caller(self._channel).infer(blocking)))
        async with asyncio.timeout(60):
            while self._server.application.in_flight == 0:
                await asyncio.sleep(0.01)

    async def __aexit__(self, *error: object) -> None:
        async with asyncio.timeout(60):
            while rows_not_begun(self._server.application) < self._rows:
                await asyncio.sleep(0.01)
        self._registry.resolve("counting").stop_runs()
        assert (await self._blocked).reason == "INFERENCE_FAILED"
        await self._channel.close()


# --- refusals ---

Q, K, V = (np.random.default_rng(7).normal(size=shape).astype(np.float32) for shape in ((2, 4), (3, 4), (3, 2)))


@pytest.mark.parametrize(
    ("changes", "reason", "message"),
    [
        ({"value": V[:2]}, "SIGNATURE_MISMATCH", "value of shape [2, 2] has 2 keys, but key has 3"),
        ({"key": K[:0], "value": V[:0]}, "INPUT_EMPTY", "key of shape [0, 4] is empty"),
        ({"query": Q[:0]}, "INPUT_EMPTY", "query of shape [0, 4] is empty"),
        ({"query": Q[:, :0], "key": K[:, :0]}, "INPUT_EMPTY", "query of shape [2, 0] is empty"),
        ({"query": Q * np.float32(np.nan)}, "TENSOR_MALFORMED", "query holds NaN or infinity at [0, 0]"),
        ({"query": Q + np.float32(np.inf)}, "TENSOR_MALFORMED", "query holds NaN or infinity"),
        ({"key": K - np.float32(np.inf)}, "TENSOR_MALFORMED", "key holds NaN or infinity"),
        ({"value": V * np.float32(np.nan)}, "TENSOR_MALFORMED", "value holds NaN or infinity"),
        ({"query": Q * 1e30, "key": K * 1e30}, "TENSOR_MALFORMED", "so large that their products leave float32"),
        ({"mask": np.ones((2, 2), bool)}, "SIGNATURE_MISMATCH", "mask of shape [2, 2] has 2 keys, but key has 3"),
        ({"mask": np.ones((3, 3), bool)}, "SIGNATURE_MISMATCH", "has 3 queries, but query has 2"),
        ({"mask": np.ones(3, bool)}, "SIGNATURE_MISMATCH", "mask has rank 1; expected 2: [queries, keys]"),
        ({"key": K[:, :3]}, "SIGNATURE_MISMATCH", "key of shape [3, 3] has width 3, but query has 4"),
        ({"weight": V}, "SIGNATURE_MISMATCH", "attend has no input 'weight'; it takes query, key, value"),
        ({"model": "attend-bilinear"}, "SIGNATURE_MISMATCH", "missing weight; attend-bilinear takes"),
        ({"model": "attend-bilinear", "weight": V}, "SIGNATURE_MISMATCH", "weight of shape [3, 2] has query_width 3"),
    ],
)
def test_what_cannot_be_attended_to_is_refused_and_named(client, changes, reason, message):
    options = {"model": changes["model"]} if "model" in changes else {}
    given = {"query": Q, "key": K, "value": V, **{k: v for k, v in changes.items() if k != "model"}}
    with pytest.raises(InvalidInput) as caught:
        ask(client, given, **options)
    assert (caught.value.reason, caught.value.metadata["input"]) == (reason, "0")
    assert caught.value.message.startswith("input 0: ")
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        (([Q] * 17, [K] * 17, [V] * 17), "TOO_MANY_ROWS"),
        ((np.ones((1025, 1)), np.ones((1, 1)), np.ones((1, 1))), "SEQUENCE_TOO_LONG"),
        ((np.ones((1, 1025)), np.ones((1, 1025)), np.ones((1, 1))), "PAYLOAD_TOO_LARGE"),
        (([np.ones((400, 1))] * 2, [np.ones((200, 1))] * 2, [np.ones((200, 1))] * 2), "ATTENTION_TOO_LARGE"),
    ],
)
def test_what_is_too_much_is_refused(client, arrays, reason):
    with pytest.raises(TooLarge) as caught:
        client.attend(*arrays)
    assert caught.value.reason == reason


def test_heads_count_against_the_bound_on_weights_in_both_protocols(address, client):
    given = made_up("attend-multi-head", np.random.default_rng(8), 400, 200)  # 2 heads: 640,000 bytes of 400,000
    with pytest.raises(TooLarge, match="take 640000 bytes; at most 400000"):
        ask(client, given, model="attend-multi-head")
    inputs = []
    for name, array in given.items():
        inputs.append(triton.InferInput(name, [1, *array.shape], "FP32"))
        inputs[-1].set_data_from_numpy(array[None])
    raw = triton.InferenceServerClient(address)
    with pytest.raises(triton.InferenceServerException, match="640000 bytes of attention weights"):
        raw.infer("attend-multi-head", inputs, outputs=[triton.InferRequestedOutput("weights")])
    raw.close()


def test_a_call_without_inputs_is_empty(client):
    with pytest.raises(InvalidInput) as caught:
        client.attend(np.ones((0, 1, 1)), np.ones((0, 1, 1)), np.ones((0, 1, 1)))
    assert caught.value.reason == "INPUT_EMPTY"


def test_a_model_for_another_task_and_one_that_does_not_exist(client):
    with pytest.raises(NotSupported, match="'digits' is for image-classification; Attend takes a mechanism"):
        client.attend(Q, K, V, model="digits")
    with pytest.raises(NotSupported):
        client.attend(Q, K, V, model="counting")
    with pytest.raises(NotFound):
        client.attend(Q, K, V, model="attend-nobody")
    with pytest.raises(NotFound):
        client.attend(Q, K, V, version=9)


async def test_a_mechanism_is_no_classifier(address):
    async with grpc.aio.insecure_channel(address) as channel:
        refusal = await refused(Caller(channel).classify(classify_request("attend", "a text")))
    assert refusal.reason == "TASK_NOT_SUPPORTED"


def test_the_input_at_fault_is_named_and_nothing_is_computed_for_its_neighbours(address, client):
    before = computed(address, "attend")
    with pytest.raises(InvalidInput) as caught:
        client.attend([Q, Q, Q * np.float32(np.nan)], [K] * 3, [V] * 3)
    assert caught.value.metadata["input"] == "2"
    assert computed(address, "attend") == before


def computed(address: str, model: str) -> int:
    """Rows that the model has computed since it was loaded."""
    client = triton.InferenceServerClient(address)
    try:
        return client.get_inference_statistics(model).model_stats[0].inference_count
    finally:
        client.close()


async def test_a_row_that_overflows_harms_none_of_those_it_runs_with(store):
    good = [made_up("attend", np.random.default_rng(n), 3, 4) for n in range(4)]
    bad = {**good[0], "query": good[0]["query"] * np.float32(1e30), "key": good[0]["key"] * np.float32(1e30)}
    async with serving(store, runtime={"cores": 1}) as server, AsyncClient(server.address, timeout_s=60) as client:
        async with waiting_rows(server, 5):
            calls = [asyncio.ensure_future(ask(client, one)) for one in (*good, bad)]
        *results, failed = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(failed, InvalidInput)
    assert max(result.timing.batch_rows for result in results) == 5
    for one, result in zip(good, results, strict=True):
        assert_right("attend", one, result[0])


# --- the command ---


def command(*arguments: str, content: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-m", "attendant", "attend", *arguments], input=content, capture_output=True)


def test_command_shows_weights_and_context_of_an_archive(address, tmp_path):
    given = made_up("attend-additive", np.random.default_rng(9), 2, 3, masked=True)
    np.savez(tmp_path / "given.npz", **given)
    done = command(str(tmp_path / "given.npz"), "--model", "attend-additive", "--address", address)
    assert done.returncode == 0, done.stderr
    shown = done.stdout.decode()
    assert "attend-additive version 1 (stable)" in shown
    assert "weights: 2 queries, 3 keys" in shown
    for weight in expected("attend-additive", given)[1].ravel():
        assert f" {weight:.3f} " in shown


def test_command_reads_json_and_writes_it(address):
    document = {"query": Q.tolist(), "key": K.tolist(), "value": V.tolist(), "parameters": {}}
    done = command("-", "--address", address, "--json", content=json.dumps(document).encode())
    assert done.returncode == 0, done.stderr
    (answer,) = json.loads(done.stdout)["results"]
    np.testing.assert_allclose(
        answer["context"], expected("attend", {"query": Q, "key": K, "value": V})[0], **TOLERANCE
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no json", "- holds no arrays"),
        (b"[1]", "- is not a JSON object with query, key and value"),
        (b'{"query": [[1]], "key": [[1]]}', "- lacks value"),
        (b'{"query": [[1]], "key": [[1]], "value": [[1]], "mask": [[1]]}', "mask must be bool"),
        (b"PK\x03\x04no archive", "- holds no arrays"),
    ],
)
def test_command_says_what_is_wrong_with_its_file(content, message):
    done = command("-", content=content)
    assert done.returncode == 2
    assert message in done.stderr.decode()
