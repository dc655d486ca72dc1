"""ModelInfer and ModelStreamInfer of models that write, over a real channel, by writers that are told what to write."""

import asyncio

import grpc
import numpy as np
import pytest

from server.errors import InferenceFailed
from server.rpc.open_inference.bytes_tensor import split_bytes
from server.tensors import NUMPY_DTYPES, Datatype
from server.wire import grpc_service_pb2 as wire
from tests.integration.test_rpc_stream import Stream
from tests.support.calls import Caller, floats, infer_request, refused
from tests.support.fakes import echo_model, make_settings
from tests.support.reached import reached
from tests.support.writers import Book, serving_writers, writing_model

MODELS = (writing_model(), writing_model("story", encodes=False), echo_model(Datatype.FP32))


def texts(*contents: str | bytes) -> np.ndarray:
    return np.array([each.encode() if isinstance(each, str) else each for each in contents], dtype=np.object_)


def asked(*contents: str | bytes, model: str = "dates", outputs=(), id: str = "", **parameters: object):
    """A request of texts, with decoding parameters."""
    request = infer_request(model, outputs, id=id, text=texts(*contents))
    return with_parameters(request, **parameters)


def with_parameters(request: wire.ModelInferRequest, **parameters: object) -> wire.ModelInferRequest:
    kinds = {bool: "bool_param", int: "int64_param", float: "double_param", str: "string_param"}
    for name, value in parameters.items():
        setattr(request.parameters[name], kinds[type(value)], value)
    return request


def outputs_of(response: wire.ModelInferResponse) -> dict[str, object]:
    found = {}
    for output, content in zip(response.outputs, response.raw_output_contents, strict=True):
        datatype, shape = Datatype(output.datatype), tuple(output.shape)
        if datatype is Datatype.BYTES:
            array = split_bytes(output.name, content, int(np.prod(shape))).reshape(shape)
        else:
            array = np.frombuffer(content, NUMPY_DTYPES[datatype]).reshape(shape)
        found[output.name] = array.tolist()
    return found


@pytest.fixture
def book():
    return Book()


@pytest.fixture
async def served(tmp_path, book):
    async with serving_writers(book, tmp_path, MODELS) as server:
        yield server


@pytest.fixture
async def channel(served):
    async with grpc.aio.insecure_channel(served.address) as channel:
        yield channel


@pytest.fixture
def caller(channel):
    return Caller(channel)


# --- ModelInfer ---


async def test_texts_are_answered_with_texts_tokens_scores_and_reasons(caller):
    response = await caller.infer(asked("a b c", "d", id="mine"))
    assert (response.id, response.model_name, response.model_version) == ("mine", "dates", "1")
    assert outputs_of(response) == {
        "text": [b"c b a", b"d"],
        "tokens": [[3, 2, 1], [4, -1, -1]],
        "score": [-1.5, -0.5],
        "finish_reason": [b"end", b"end"],
        "seed": [0, 0],
    }


async def test_token_ids_are_taken_in_place_of_texts_and_cropped_by_their_mask(caller, book):
    ids = np.array([[1, 2, 3], [4, 0, 0]])
    request = infer_request("dates", ["text"], input_ids=ids, mask=np.array([[1, 1, 1], [1, 0, 0]], dtype=np.bool_))
    assert outputs_of(await caller.infer(request)) == {"text": [b"c b a", b"d"]}
    assert [writing.read for writing in book.begun] == [[1, 2, 3], [4]]


async def test_a_beginning_comes_as_ids_without_a_mask(caller, book):
    response = await caller.infer(infer_request("story", ["tokens"], input_ids=np.array([[1, 2]])))
    assert outputs_of(response) == {"tokens": [[2, 1]]}


async def test_parameters_have_the_names_of_the_decoding(caller, book):
    await caller.infer(
        asked("a b", max_tokens=3, temperature=1, top_p=0.5, seed=9, stop='["x", "y"]', prefix="g", priority=1)
    )
    (writing,) = book.begun
    assert (writing.decoding.max_tokens, writing.decoding.temperature, writing.decoding.top_p) == (3, 1.0, 0.5)
    assert (writing.decoding.seed, writing.decoding.stop, writing.prefix, writing.priority) == (9, ("x", "y"), (7,), 4)


async def test_log_probabilities_come_by_parameter_or_by_name(caller):
    by_parameter = outputs_of(await caller.infer(asked("a b", "c", logprobs=True, top_logprobs=1)))
    assert by_parameter["logprobs"] == [[-0.5, -0.5], [-0.5, 0]]
    assert by_parameter["top_tokens"] == [[[0], [0]], [[0], [-1]]]
    assert by_parameter["top_logprobs"] == [[[-0.5], [-0.5]], [[-0.5], [0]]]
    assert outputs_of(await caller.infer(asked("a b", outputs=["logprobs"]))) == {"logprobs": [[-0.5, -0.5]]}


async def test_attention_comes_where_it_is_named(caller):
    found = outputs_of(await caller.infer(asked("a b", "c", outputs=["alignment", "text"])))
    assert list(found) == ["alignment", "text"]
    first, second = np.array(found["alignment"])
    assert first[0].tolist() == [[0, 1], [1, 0]]
    assert second[1].tolist() == [[0.5, 0], [0, 0]]


async def test_sequences_of_one_input_stand_one_after_another(caller):
    response = await caller.infer(asked("a b", "c", num_beams=2, num_sequences=2))
    found = outputs_of(response)
    assert (found["text"], found["score"]) == ([b"b a", b"b", b"c", b"c"], [-1, -10, -0.5, -10])


async def test_the_timeout_is_the_writers_deadline_too(caller, book):
    await caller.infer(asked("a", timeout=60_000_000))
    assert book.begun[0].deadline is not None


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (asked(), "INPUT_EMPTY"),
        (asked(""), "INPUT_EMPTY"),
        (asked("a " * 17), "SEQUENCE_TOO_LONG"),
        (asked(b"\xff"), "INPUT_UNDECODABLE"),
        (asked("a", prefix="ß"), "INPUT_UNDECODABLE"),
        (asked("a", prefix=1), "PARAMETER_INVALID"),
        (asked("a", max_tokens=0), "PARAMETER_INVALID"),
        (asked("a", max_tokens=1.5), "PARAMETER_INVALID"),
        (asked("a", temperature="hot"), "PARAMETER_INVALID"),
        (asked("a", temperature=True), "PARAMETER_INVALID"),
        (asked("a", logprobs=1), "PARAMETER_INVALID"),
        (asked("a", num_beams=2, temperature=1.0), "PARAMETER_INVALID"),
        (asked("a", warmth=1.0), "PARAMETER_INVALID"),
        (asked("a", precision="int8"), "PARAMETER_INVALID"),
        (asked("a", outputs=["top_tokens"]), "PARAMETER_INVALID"),
        (asked("a", outputs=["logits"]), "SIGNATURE_MISMATCH"),
        (asked("a", outputs=["text", "text"]), "SIGNATURE_MISMATCH"),
        (asked("a", sequence_id=3), "NOT_IMPLEMENTED"),
        (infer_request("dates", text=np.array([1])), "SIGNATURE_MISMATCH"),
        (infer_request("dates", ids=np.array([[1]])), "SIGNATURE_MISMATCH"),
        (infer_request("dates", input_ids=floats(1), mask=np.array([[True]])), "SIGNATURE_MISMATCH"),
        (infer_request("dates", input_ids=np.array([[1, 2]]), mask=np.array([[False, False]])), "INPUT_EMPTY"),
        (infer_request("dates", input_ids=np.array([[1, 2]]), mask=np.array([[False, True]])), "TENSOR_MALFORMED"),
        (infer_request("story", input_ids=np.array([[1, 99]])), "TENSOR_MALFORMED"),
        (infer_request("story", input_ids=np.array([[-1]])), "TENSOR_MALFORMED"),
        (asked("a", stop="[" * 10**6), "PARAMETER_INVALID"),
        (asked("a", prefix="a " * 2**19 + "a"), "PAYLOAD_TOO_LARGE"),
        (with_parameters(infer_request("echo_fp32", x=floats(1)), max_tokens=3), "PARAMETER_INVALID"),
    ],
)
async def test_what_cannot_be_written_is_refused_before_anything_begins(caller, channel, book, request_, reason):
    assert (await refused(caller.infer(request_))).reason == reason
    stream = Stream(channel)
    await stream.send(request_)
    assert (await stream.receive()).infer_response.parameters["reason"].string_param == reason
    assert book.begun == []


async def test_attention_is_bounded_by_the_longest_text_that_may_come(tmp_path, book):
    settings = make_settings(security={"max_attention_bytes": 100})
    async with (
        serving_writers(book, tmp_path, MODELS, settings) as served,
        grpc.aio.insecure_channel(served.address) as channel,
    ):
        found = await refused(Caller(channel).infer(asked("a b", "c", outputs=["alignment"], max_tokens=4)))
    assert (found.reason, found.metadata["bytes"]) == ("ATTENTION_TOO_LARGE", str(4 * 2 * 2 * 4 * 2))


async def test_metadata_and_configuration_tell_a_decoupled_model(caller):
    metadata = await caller.ask("ModelMetadata", wire.ModelMetadataRequest(name="dates"))
    assert [(each.name, each.datatype, list(each.shape)) for each in metadata.inputs] == [("text", "BYTES", [-1])]
    assert [(each.name, each.datatype, list(each.shape)) for each in metadata.outputs] == [
        ("text", "BYTES", [-1]),
        ("tokens", "INT64", [-1, -1]),
        ("score", "FP32", [-1]),
        ("finish_reason", "BYTES", [-1]),
        ("seed", "INT64", [-1]),
        ("logprobs", "FP32", [-1, -1]),
        ("top_tokens", "INT64", [-1, -1, -1]),
        ("top_logprobs", "FP32", [-1, -1, -1]),
        ("alignment", "FP32", [-1, 2, -1, -1]),
        ("self_attention", "FP32", [-1, 2, -1, -1]),
    ]
    config = (await caller.ask("ModelConfig", wire.ModelConfigRequest(name="dates"))).config
    assert config.model_transaction_policy.decoupled
    assert (config.max_batch_size, list(config.input[0].dims), config.input[0].data_type) == (0, [-1], 13)
    assert config.parameters["codec_input"].string_value == "text"
    plain = (await caller.ask("ModelConfig", wire.ModelConfigRequest(name="echo_fp32"))).config
    assert not plain.HasField("model_transaction_policy")


# --- ModelStreamInfer ---


def told(response: wire.ModelStreamInferResponse) -> tuple[str, dict[str, object], bool]:
    assert response.error_message == ""
    answer = response.infer_response
    return answer.id, outputs_of(answer), answer.parameters["triton_final_response"].bool_param


async def test_a_text_comes_increment_by_increment_the_last_one_final(channel):
    stream = Stream(channel)
    await stream.send(asked("a b", id="one"))
    await stream.call.done_writing()
    first, last = told(await stream.receive()), told(await stream.receive())
    assert first == ("one", {"text": [b"b"], "tokens": [[2]]}, False)
    assert last == (
        "one",
        {"text": [b" a"], "tokens": [[1]], "score": [-1.0], "finish_reason": [b"end"], "seed": [0]},
        True,
    )
    assert await stream.ends()


async def test_an_empty_last_response_comes_where_it_is_asked_for(channel):
    stream = Stream(channel)
    await stream.send(asked("a b", id="one", triton_enable_empty_final_response=True))
    found = [told(await stream.receive()) for _ in range(3)]
    assert [final for *_, final in found] == [False, False, True]
    assert found[-1] == ("one", {}, True)


async def test_outputs_that_are_named_come_in_their_order(channel):
    stream = Stream(channel)
    await stream.send(asked("a b", outputs=["finish_reason", "logprobs", "alignment"]))
    first, last = told(await stream.receive()), told(await stream.receive())
    assert list(first[1]) == ["logprobs", "alignment"]
    assert (first[1]["logprobs"], np.array(first[1]["alignment"]).shape) == ([[-0.5]], (1, 2, 1, 2))
    assert list(last[1]) == ["finish_reason", "logprobs", "alignment"]


async def test_a_slow_text_holds_up_nothing_else_on_its_stream(channel, book):
    book.gate = asyncio.Event()
    stream = Stream(channel)
    await stream.send(asked("a b c", id="slow"))
    assert told(await stream.receive())[0] == "slow"
    await stream.send(infer_request("echo_fp32", x=floats(1), id="at once"), asked("d", id="short"))
    assert {told(await stream.receive())[0] for _ in range(2)} == {"at once", "short"}
    book.gate.set()
    assert [told(await stream.receive())[1]["text"] for _ in range(2)] == [[b" b"], [b" a"]]


async def test_texts_of_one_stream_interleave_and_each_keeps_its_order(channel, book):
    stream = Stream(channel)
    await stream.send(asked("a b c d", id="1"), asked("d c b a", id="2"))
    found = [told(await stream.receive()) for _ in range(8)]
    for id, text in (("1", b"d c b a"), ("2", b"a b c d")):
        assert b"".join(outputs["text"][0] for one, outputs, _ in found if one == id) == text
    assert [id for id, *_ in found] not in ([*"11112222"], [*"22221111"])


async def test_a_failed_text_tells_its_id_and_leaves_the_stream(channel, book, served):
    book.failures[0] = InferenceFailed("the session failed")
    stream = Stream(channel)
    await stream.send(asked("a b c", id="bad"))
    assert [told(await stream.receive())[1]["text"] for _ in range(2)] == [[b"c"], [b" b"]]
    failed = await stream.receive()
    assert failed.error_message == "the session failed"
    assert failed.infer_response.id == "bad"
    assert failed.infer_response.parameters["triton_final_response"].bool_param
    assert failed.infer_response.parameters["reason"].string_param == "INFERENCE_FAILED"
    await stream.send(asked("a", id="good"))
    assert told(await stream.receive())[2]
    await reached(lambda: [call[-1] for call in served.ledger.calls] == ["INFERENCE_FAILED", "OK"])


async def test_a_strict_stream_ends_with_the_status_of_a_failed_text(channel, book):
    book.failures[0] = InferenceFailed("the session failed")
    stream = Stream(channel, metadata=(("triton_grpc_error", "true"),))
    await stream.send(asked("a b c", id="bad"))
    assert [told(await stream.receive())[1]["text"] for _ in range(2)] == [[b"c"], [b" b"]]
    found = await stream.refused()
    assert (found.code, found.reason) == (grpc.StatusCode.INTERNAL, "INFERENCE_FAILED")


async def test_a_cancelled_stream_lets_go_of_its_texts(channel, book, served):
    book.gate = asyncio.Event()
    stream = Stream(channel)
    await stream.send(asked("a b c"), asked("d e f"))
    await reached(lambda: len(book.begun) == 2)
    stream.call.cancel()
    await reached(lambda: all(writing.cancelled for writing in book.begun) and len(served.ledger.calls) == 2)
    assert {call[-1] for call in served.ledger.calls} == {"CANCELLED"}
    assert served.rpc.in_flight == 0


async def test_a_drain_finishes_what_was_read_of_a_stream(channel, book, served):
    book.gate = asyncio.Event()
    stream = Stream(channel)
    await stream.send(asked("a b c"))
    await stream.receive()
    served.registry.drain()
    draining = asyncio.ensure_future(served.rpc.drain())
    book.gate.set()
    assert [told(await stream.receive())[1]["text"] for _ in range(2)] == [[b" b"], [b" a"]]
    assert (await stream.refused()).reason == "DRAINING"
    await draining


async def test_texts_count_towards_the_requests_of_a_stream(tmp_path, book):
    book.gate = asyncio.Event()
    settings = make_settings(grpc={"max_stream_requests": 2})
    async with (
        serving_writers(book, tmp_path, MODELS, settings) as served,
        grpc.aio.insecure_channel(served.address) as channel,
    ):
        stream = Stream(channel)
        await stream.send(*(asked("a b") for _ in range(5)))
        await reached(lambda: len(book.begun) == 2)
        for _ in range(20):  # the answers show that the server has gone on meanwhile
            await Caller(channel).ask("ServerLive", wire.ServerLiveRequest())
            assert len(book.begun) == 2
        book.gate.set()
        finals = [told(await stream.receive())[2] for _ in range(10)]
        assert finals.count(True) == 5


@pytest.mark.parametrize("request_", [asked("a", "b"), asked("a", num_beams=2, num_sequences=2)])
async def test_a_streamed_request_has_one_text(channel, request_):
    stream = Stream(channel)
    await stream.send(request_)
    assert (await stream.receive()).infer_response.parameters["reason"].string_param == "PARAMETER_INVALID"
