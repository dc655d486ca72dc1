"""Bad input at a real server over real exported bundles: its code, its reason, and what its neighbours get."""

import asyncio
import random
import struct
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import numpy as np
import pytest
from attendant.v1 import attention_pb2, classify_pb2, common_pb2

from server.wire import grpc_service_pb2 as wire
from tests.support.bundles import publish_tiny
from tests.support.calls import ATTENDANT, INFERENCE, Caller, classify_request, infer_request, png, refused
from tests.support.checkpoints import WORDS
from tests.support.graphs import counting_graph, doubling_graph, write_version
from tests.support.serving import Serving, rows_not_begun, serving

INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND
MAX_TOKENS = 64
"""The longest text of the tiny model."""
TEXT = "returns sorted rows of a matrix"
NOISE = np.random.default_rng(7).bytes(4096)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    publish_tiny(folder, "areas", alias="stable")
    publish_tiny(folder, "digits")
    write_version(folder, "doubling", 1, doubling_graph())
    write_version(folder, "counting", 1, counting_graph())
    return folder


@pytest.fixture
async def server(store):
    settings = {
        "grpc": {"max_message_bytes": 2 * 1024**2},
        "security": {"max_text_bytes": 10_000},
        "runtime": {"cores": 1},
    }
    async with serving(store, **settings) as running:
        yield running


@pytest.fixture
async def caller(server):
    async with grpc.aio.insecure_channel(server.address) as channel:
        yield Caller(channel)


def ids(array: np.ndarray | list[list[int]], mask: np.ndarray | None = None) -> wire.ModelInferRequest:
    inputs = {"input_ids": np.asarray(array, dtype=np.int64)}
    return infer_request("areas", ("logits",), **inputs, **({} if mask is None else {"mask": mask}))


def raw(content: bytes, shape: list[int], name: str = "input_ids", datatype: str = "INT64") -> wire.ModelInferRequest:
    request = wire.ModelInferRequest(model_name="areas", raw_input_contents=[content])
    request.inputs.add(name=name, datatype=datatype, shape=shape)
    return request


def with_mask(content: bytes) -> wire.ModelInferRequest:
    request = raw(bytes(32), [1, 4])
    request.inputs.add(name="mask", datatype="BOOL", shape=[1, 4])
    request.raw_input_contents.append(content)
    return request


def mixed() -> wire.ModelInferRequest:
    request = raw(bytes(8), [1, 1])
    request.inputs[0].contents.int64_contents.append(1)
    return request


def doubled() -> wire.ModelInferRequest:
    request = raw(bytes(8), [1, 1])
    request.inputs.append(request.inputs[0])
    request.raw_input_contents.append(bytes(8))
    return request


def content(model: str, name: str, *elements: bytes) -> wire.ModelInferRequest:
    return infer_request(model, ("logits",), **{name: np.array(elements, dtype=np.object_)})


def bomb(width: int = 60_000, height: int = 60_000) -> bytes:
    """A small PNG whose header promises billions of pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(100_000), 9)), (b"IEND", b""))
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


GOOD_IMAGE = png()
TENSORS = {
    "truncated raw tensor": (raw(bytes(31), [1, 4]), "TENSOR_MALFORMED"),
    "raw tensor of random bytes": (raw(NOISE[:33], [1, 4]), "TENSOR_MALFORMED"),
    "no bytes at all": (raw(b"", [1, 4]), "TENSOR_MALFORMED"),
    "shape that disagrees with the bytes": (raw(bytes(32), [1, 5]), "TENSOR_MALFORMED"),
    "negative dimension": (raw(bytes(32), [1, -4]), "TENSOR_MALFORMED"),
    "overflowing dimensions": (raw(bytes(32), [2**62, 4]), "TENSOR_MALFORMED"),
    "mask of random bytes": (with_mask(b"\x01\x07\xff\x00"), "TENSOR_MALFORMED"),
    "raw and typed contents": (mixed(), "TENSOR_MALFORMED"),
    "wrong dtype": (raw(bytes(16), [1, 4], datatype="INT32"), "SIGNATURE_MISMATCH"),
    "wrong rank": (raw(bytes(32), [1, 4, 1]), "SIGNATURE_MISMATCH"),
    "wrong name": (raw(bytes(32), [1, 4], name="ids"), "SIGNATURE_MISMATCH"),
    "missing input": (infer_request("areas", mask=np.ones((1, 4), dtype=np.bool_)), "SIGNATURE_MISMATCH"),
    "doubled input": (doubled(), "SIGNATURE_MISMATCH"),
    "mask of another length": (ids([[1, 2]], np.ones((1, 3), dtype=np.bool_)), "SIGNATURE_MISMATCH"),
    "wrong fixed size": (infer_request("digits", pixels=np.zeros((1, 1, 8, 9), np.float32)), "SIGNATURE_MISMATCH"),
    "zero rows": (ids(np.zeros((0, 4))), "INPUT_EMPTY"),
    "zero length": (ids(np.zeros((1, 0))), "INPUT_EMPTY"),
    "too many rows": (ids(np.zeros((257, 1))), "TOO_MANY_ROWS"),
    "too long": (ids(np.zeros((1, MAX_TOKENS + 1))), "SEQUENCE_TOO_LONG"),
    "text that is not UTF-8": (content("areas", "text", b"ab\xff\xfe"), "INPUT_UNDECODABLE"),
    "text of random bytes": (content("areas", "text", NOISE), "INPUT_UNDECODABLE"),
    "empty text": (content("areas", "text", b""), "INPUT_EMPTY"),
    "image of random bytes": (content("digits", "image", NOISE), "INPUT_UNDECODABLE"),
    "image bomb": (content("digits", "image", bomb()), "PAYLOAD_TOO_LARGE"),
}
CONTENTS = {
    "empty text": (classify_request("areas", TEXT, ""), "INPUT_EMPTY"),
    "blank text": (classify_request("areas", TEXT, " \n\t"), "INPUT_EMPTY"),
    "no input": (classify_request("areas"), "INPUT_EMPTY"),
    "text beyond the limit": (classify_request("areas", TEXT, "row " * (MAX_TOKENS + 1)), "SEQUENCE_TOO_LONG"),
    "text of too many bytes": (classify_request("areas", TEXT, "a" * 10_001), "PAYLOAD_TOO_LARGE"),
    "image for a text model": (classify_request("areas", GOOD_IMAGE), "SIGNATURE_MISMATCH"),
    "text for an image model": (classify_request("digits", TEXT), "SIGNATURE_MISMATCH"),
    "random bytes as PNG": (classify_request("digits", GOOD_IMAGE, NOISE), "INPUT_UNDECODABLE"),
    "random bytes after a PNG's signature": (classify_request("digits", GOOD_IMAGE[:8] + NOISE), "INPUT_UNDECODABLE"),
    "truncated PNG": (classify_request("digits", GOOD_IMAGE[:-30]), "INPUT_UNDECODABLE"),
    "no bytes": (classify_request("digits", b""), "INPUT_EMPTY"),
    "image bomb": (classify_request("digits", GOOD_IMAGE, bomb()), "PAYLOAD_TOO_LARGE"),
    "large plain image": (classify_request("digits", png(size=(5000, 5000))), "PAYLOAD_TOO_LARGE"),
    "too many inputs": (classify_request("areas", *["a"] * 257), "TOO_MANY_ROWS"),
}


@pytest.fixture(scope="module")
def bad_calls() -> list[tuple[str, object, str]]:
    return [(name, *case) for cases in (TENSORS, CONTENTS) for name, case in cases.items()]


async def send(caller: Caller, request: object) -> object:
    return await (caller.infer(request) if isinstance(request, wire.ModelInferRequest) else caller.classify(request))


async def test_each_bad_tensor_and_content_gets_its_code_and_reason(caller, bad_calls):
    found = {name: await refused(send(caller, request)) for name, request, _ in bad_calls}
    assert {name: (one.code, one.reason) for name, one in found.items()} == {
        name: (INVALID, reason) for name, _, reason in bad_calls
    }
    assert all(one.metadata["request_id"] for one in found.values())


@pytest.mark.parametrize(
    ("service", "method", "valid"),
    [
        (ATTENDANT, "Classify", classify_request("areas", TEXT)),
        (ATTENDANT, "Classify", classify_request("digits", GOOD_IMAGE)),
        (INFERENCE, "ModelInfer", ids([[3, 4, 5]])),
    ],
    ids=["text", "image", "tensors"],
)
async def test_truncated_and_random_bytes_in_place_of_a_message(caller, service, method, valid):
    whole = valid.SerializeToString()
    for sent in (whole[:-1], b"\xff" * 64, NOISE):
        found = await refused(caller.send(service, method, sent))
        assert (found.code, found.reason) == (INVALID, "MESSAGE_MALFORMED")
    await send(caller, valid)


async def test_a_text_that_is_not_utf8_is_a_malformed_message(caller):
    sent = classify_request("areas", TEXT).SerializeToString().replace(b"sorted", b"s\xff\xfeted")
    found = await refused(caller.send(ATTENDANT, "Classify", sent))
    assert (found.code, found.reason) == (INVALID, "MESSAGE_MALFORMED")


async def test_ids_that_the_model_has_no_embedding_for_fail_alone(caller):
    good, bad = ids([[3, 4, 5]]), ids([[3, 10**9, 5]])
    alone = (await caller.infer(good)).raw_output_contents
    outcomes = await asyncio.gather(
        *(refused(caller.infer(bad)) if index % 3 == 0 else caller.infer(good) for index in range(30))
    )
    for index, outcome in enumerate(outcomes):
        if index % 3 == 0:
            assert (outcome.code, outcome.reason) == (grpc.StatusCode.INTERNAL, "INFERENCE_FAILED")
        else:
            np.testing.assert_allclose(logits(outcome), np.frombuffer(alone[0], "<f4"), atol=1e-6)


def logits(reply: wire.ModelInferResponse) -> np.ndarray:
    return np.frombuffer(reply.raw_output_contents[0], "<f4")


def scores_of(reply: classify_pb2.ClassifyResponse) -> dict[int, float]:
    return {label.index: label.score for label in reply.results[0].labels}


@pytest.mark.parametrize(("cut", "kept"), [("CUT_END", slice(MAX_TOKENS)), ("CUT_START", slice(-MAX_TOKENS, None))])
async def test_a_long_text_is_cut_where_the_caller_chose(caller, cut, kept):
    words = random.Random(0).choices(WORDS[3:], k=MAX_TOKENS + 20)
    truncation = common_pb2.Truncation.Value(f"TRUNCATION_{cut}")
    whole = await caller.classify(classify_request("areas", " ".join(words), truncation=truncation))
    part = await caller.classify(classify_request("areas", " ".join(words[kept])))
    report = whole.results[0].truncation
    assert (report.truncated, report.kept_length, report.original_length) == (True, MAX_TOKENS, MAX_TOKENS + 20)
    # Not to the last bit: which graph answers is decided by what runs have cost so far.
    assert scores_of(whole) == pytest.approx(scores_of(part), abs=1e-6)
    assert not part.results[0].truncation.truncated


@pytest.mark.parametrize(
    "name", ["nobody", "", "..", "../areas", "areas/../areas", "areas/1", "/etc/passwd", "areas\0"]
)
async def test_a_name_that_is_no_model_of_the_store_is_not_found(caller, name):
    for call in (
        caller.classify(classify_request(name, TEXT)),
        caller.infer(infer_request(name, input_ids=np.ones((1, 2), np.int64))),
        caller.ask("ModelMetadata", wire.ModelMetadataRequest(name=name)),
        caller.ask("ModelConfig", wire.ModelConfigRequest(name=name)),
    ):
        found = await refused(call)
        assert (found.code, found.reason) == (NOT_FOUND, "MODEL_NOT_FOUND")
    assert not (await caller.ask("ModelReady", wire.ModelReadyRequest(name=name))).ready


@pytest.mark.parametrize("name", ["../staged", "..", "areas/1", "nobody"])
async def test_no_name_loads_anything_from_elsewhere(store, name):
    write_version(store.parent, "staged", 1, doubling_graph())
    explicit = {"control": "explicit"}
    async with serving(store, store=explicit) as server, grpc.aio.insecure_channel(server.address) as channel:
        caller = Caller(channel)
        for method in ("RepositoryModelLoad", "RepositoryModelUnload"):
            found = await refused(caller.ask(method, getattr(wire, f"{method}Request")(model_name=name)))
            assert (found.code, found.reason) == (NOT_FOUND, "MODEL_NOT_FOUND")


@pytest.mark.parametrize("selector", [{"version": 9}, {"version": -1}, {"alias": "canary"}, {"alias": "../stable"}])
async def test_an_unknown_version_or_alias_is_not_found(caller, selector):
    request = classify_request("areas", TEXT)
    request.model.MergeFrom(common_pb2.ModelRef(**selector))
    found = await refused(caller.classify(request))
    assert (found.code, found.reason) == (NOT_FOUND, "VERSION_NOT_FOUND")


async def test_a_model_for_another_task_says_so(caller):
    found = await refused(caller.classify(classify_request("doubling", TEXT)))
    assert (found.code, found.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "TASK_NOT_SUPPORTED")


async def test_a_method_for_a_task_that_is_not_offered_is_unimplemented(caller):
    found = await refused(caller.send(ATTENDANT, "Transcribe", b""))
    assert found.code == grpc.StatusCode.UNIMPLEMENTED


async def test_an_oversized_message_is_refused_and_the_connection_lives_on(caller):
    found = await refused(caller.classify(classify_request("areas", "a " * 2 * 1024**2)))
    assert (found.code, found.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "")
    await caller.classify(classify_request("areas", TEXT))


async def test_in_a_burst_of_good_and_bad_every_good_call_gets_its_own_right_answer(server, caller, bad_calls):
    dice = random.Random(3)
    good = [classify_request("areas", " ".join(dice.choices(WORDS[3:], k=dice.randint(1, 60)))) for _ in range(40)]
    good += [classify_request("digits", png(dice.randrange(256))) for _ in range(10)]
    for request in good:
        request.attention.SetInParent()
    alone = [await caller.classify(request) for request in good]
    # Fails inside the session, in the batch of its neighbours: it asks for the same outputs as they do.
    guilty = infer_request(
        "areas", ("logits", "attention_0", "attention_1"), input_ids=np.full((1, 20), 10**9, dtype=np.int64)
    )
    bad = [*((request, reason) for _, request, reason in bad_calls * 2), *[(guilty, "INFERENCE_FAILED")] * 4]
    async with waiting_rows(server, caller, len(good) + 4):
        order = dice.sample(range(len(good) + len(bad)), len(good) + len(bad))
        calls = [caller.classify(request) for request in good]
        calls += [refused(send(caller, request)) for request, _ in bad]
        running = {place: asyncio.ensure_future(calls[place]) for place in order}
    outcomes = [await running[place] for place in range(len(calls))]
    for one, expected in zip(outcomes[: len(good)], alone, strict=True):
        assert_same(one.results[0], expected.results[0])
    assert max(one.timing.batch_rows for one in outcomes[: len(good)]) > 1
    assert [refusal.reason for refusal in outcomes[len(good) :]] == [reason for _, reason in bad]
    assert len({tuple(round(label.score, 4) for label in one.results[0].labels) for one in alone}) > 40


@asynccontextmanager
async def waiting_rows(server: Serving, caller: Caller, rows: int) -> AsyncIterator[None]:
    """Keeps the only core busy until this many rows wait, so that they run together whatever the machine does."""
    registry = server.application.registry
    blocking = infer_request("counting", steps=np.array([[10**12]], dtype=np.int64))
    blocked = asyncio.ensure_future(refused(caller.infer(blocking)))
    async with asyncio.timeout(60):
        while server.application.in_flight == 0:
            await asyncio.sleep(0.01)
        yield
        while rows_not_begun(server.application) < rows:
            await asyncio.sleep(0.01)
    registry.resolve("counting").stop_runs()
    assert (await blocked).reason == "INFERENCE_FAILED"


def assert_same(one: classify_pb2.Classification, expected: classify_pb2.Classification) -> None:
    scores, right = ({label.index: label.score for label in each.labels} for each in (one, expected))
    assert scores == pytest.approx(right, abs=1e-5)
    assert len(one.attention) == len(expected.attention) == 1
    for own, reference in zip(one.attention, expected.attention, strict=True):
        assert (own.query, own.key, list(own.shape)) == (reference.query, reference.key, list(reference.shape))
        np.testing.assert_allclose(weights(own), weights(reference), atol=1e-5)


def weights(one: attention_pb2.AttentionMap) -> np.ndarray:
    return np.frombuffer(one.weights, "<f4")
