"""Generate and GenerateStream over a real channel, with writers that are told what to write."""

import asyncio

import grpc
import numpy as np
import pytest
from attendant.v1 import attention_pb2, common_pb2
from attendant.v1 import generate_pb2 as wire

from server.errors import InferenceFailed, QueueFull, ReaderTooSlow
from tests.support.calls import ATTENDANT, Caller, Refusal, classify_request, refusal, refused
from tests.support.fakes import make_settings, text_model
from tests.support.reached import reached
from tests.support.writers import Book, serving_writers, writing_model

INVALID = grpc.StatusCode.INVALID_ARGUMENT
MODELS = (writing_model(), writing_model("story", encodes=False), text_model())


class Generator(Caller):
    """One channel to the server."""

    async def generate(self, *texts: str, model: str = "dates", prefix: str = "", **fields: object):
        request = wire.GenerateRequest(inputs=[{"text": text, "prefix": prefix} for text in texts], **fields)
        request.model.name = model
        return wire.GenerateResponse.FromString(await self.send(ATTENDANT, "Generate", request.SerializeToString()))

    def stream(self, text: str | None, model: str = "dates", prefix: str = "", timeout: float | None = None, **fields):
        request = wire.GenerateStreamRequest(**fields)
        request.model.name = model
        if text is not None:
            request.input.text, request.input.prefix = text, prefix
        method = self.channel.unary_stream(
            f"/{ATTENDANT}/GenerateStream", response_deserializer=wire.GenerateStreamResponse.FromString
        )
        return method(request.SerializeToString(), timeout=timeout)

    async def streamed(self, text: str | None, **arguments: object) -> list[wire.GenerateStreamResponse]:
        return [message async for message in self.stream(text, **arguments)]


@pytest.fixture
def book():
    return Book()


@pytest.fixture
async def served(tmp_path, book):
    async with serving_writers(book, tmp_path, MODELS) as server:
        yield server


@pytest.fixture
async def caller(served):
    async with grpc.aio.insecure_channel(served.address) as channel:
        yield Generator(channel)


def texts_of(response: wire.GenerateResponse) -> list[str]:
    return [result.sequences[0].text for result in response.results]


def weights_of(one: attention_pb2.AttentionMap) -> np.ndarray:
    return np.frombuffer(one.weights, dtype="<f4").reshape(one.shape)


def names(labels: attention_pb2.AxisLabels) -> list[str]:
    return [token.text for token in labels.tokens.tokens]


# --- answers ---


async def test_each_input_gets_its_text_in_order(caller):
    response = await caller.generate("a b c", "d", "e f")
    assert texts_of(response) == ["c b a", "d", "f e"]
    first = response.results[0]
    assert [(token.id, token.text, token.logprob) for token in first.sequences[0].tokens] == [
        (3, "c", 0),
        (2, "b", 0),
        (1, "a", 0),
    ]
    assert (first.sequences[0].score, first.sequences[0].finish_reason) == (-1.5, wire.FINISH_REASON_END)
    assert (first.prompt_tokens, first.seed) == (3, 0)
    assert first.truncation == common_pb2.TruncationReport(kept_length=3, original_length=3)
    assert first.timing == wire.GenerationTiming(
        queue_s=0.125, first_token_s=0.25, compute_s=0.5, steps=3, batch_rows=3
    )


async def test_reply_tells_version_time_and_request_id(caller):
    response = await caller.generate("a b", request_id="mine")
    assert (response.model.name, response.model.version, response.request_id) == ("dates", 1, "mine")
    assert (response.timing.queue_s, response.timing.compute_s, response.timing.batch_rows) == (0.125, 0.5, 3)
    assert response.timing.request_s > 0


async def test_decoding_reaches_the_writer_and_zero_means_nothing(caller, book):
    await caller.generate("a b")
    await caller.generate(
        "a b",
        decoding=wire.Decoding(max_tokens=3, temperature=0.1, top_p=0.9, seed=7, stop=["x"], repetition_penalty=1.2),
    )
    await caller.generate("a", decoding=wire.Decoding(num_beams=4, num_sequences=2, length_penalty=0))
    plain, drawn, beams = (writing.decoding for writing in book.begun)
    assert (plain.max_tokens, plain.top_p, plain.repetition_penalty, plain.num_beams) == (8, 1.0, 1.0, 1)
    assert (drawn.max_tokens, drawn.temperature, drawn.top_p, drawn.seed) == (3, 0.1, 0.9, 7)
    assert (drawn.stop, drawn.repetition_penalty) == (("x",), 1.2)
    assert (beams.num_beams, beams.num_sequences, beams.length_penalty) == (4, 2, 0.0)


async def test_the_default_length_is_what_the_model_has_room_for(caller, book):
    await caller.generate("a b c d e f g a b", model="story")  # 12 positions: a start and nine words leave two, and one
    await caller.generate("a b c d e f g a b")
    assert [writing.decoding.max_tokens for writing in book.begun] == [3, 8]


async def test_the_default_length_is_at_most_what_the_server_allows(tmp_path, book):
    settings = make_settings(generation={"max_tokens": 2})
    async with (
        serving_writers(book, tmp_path, MODELS, settings) as served,
        grpc.aio.insecure_channel(served.address) as channel,
    ):
        response = await Generator(channel).generate("a b c")
    assert (texts_of(response), response.results[0].sequences[0].finish_reason) == (["c b"], wire.FINISH_REASON_LENGTH)


async def test_each_drawn_text_gets_a_seed_of_its_own_and_reports_it(caller, book):
    drawn = await caller.generate("a", "a", decoding=wire.Decoding(temperature=1))
    seeds = [result.seed for result in drawn.results]
    assert len({*seeds, 0}) == 3
    assert seeds == [writing.decoding.seed for writing in book.begun]
    again = await caller.generate("a", "a", decoding=wire.Decoding(temperature=1, seed=0))
    assert [result.seed for result in again.results] == [0, 0]


async def test_a_prefix_is_read_and_counted(caller, book):
    response = await caller.generate("a b", prefix="g h")
    assert book.begun[0].prefix == (7, 8)
    assert response.results[0].prompt_tokens == 4


async def test_log_probabilities_and_likely_tokens_come_where_asked_for(caller):
    response = await caller.generate("a b", decoding=wire.Decoding(logprobs=True, top_logprobs=2))
    token = response.results[0].sequences[0].tokens[1]
    assert (token.text, token.logprob) == ("a", -0.5)
    assert [(each.id, each.text, each.logprob) for each in token.top] == [(0, "[UNK]", -0.5), (1, "a", -1.5)]


async def test_several_sequences_come_best_first(caller):
    response = await caller.generate("a b", decoding=wire.Decoding(num_beams=3, num_sequences=3))
    assert [(each.text, each.score) for each in response.results[0].sequences] == [("b a", -1), ("b", -10), ("b", -11)]


async def test_a_text_that_is_cut_is_reported(caller):
    words = "a " * 20
    response = await caller.generate(words, truncation=common_pb2.TRUNCATION_CUT_END)
    assert response.results[0].truncation == common_pb2.TruncationReport(
        truncated=True, kept_length=16, original_length=20
    )


# --- attention ---


async def test_attention_names_written_tokens_and_what_they_looked_at(caller):
    response = await caller.generate("a b c", prefix="h", attention=attention_pb2.AttentionRequest())
    cross, own = response.results[0].sequences[0].attention
    assert (cross.name, list(cross.shape), list(cross.layers), list(cross.heads)) == (
        "cross",
        [1, 2, 3, 3],
        [0],
        [0, 1],
    )
    np.testing.assert_array_equal(weights_of(cross)[0, 0], np.eye(3)[::-1])
    assert (names(cross.query), names(cross.key)) == (["c", "b", "a"], ["a", "b", "c"])
    assert [(token.start, token.end) for token in cross.key.tokens.tokens] == [(0, 1), (2, 3), (4, 5)]
    assert (list(own.shape), names(own.key)) == ([1, 2, 3, 4], ["[UNK]", "h", "c", "b"])
    np.testing.assert_allclose(weights_of(own)[0, 0].sum(axis=-1), 1)
    assert weights_of(own)[0, 0, 0].tolist() == [0.5, 0.5, 0, 0]


async def test_attention_of_a_continued_text_is_over_its_beginning_too(caller):
    response = await caller.generate("a b", model="story", prefix="h", attention=attention_pb2.AttentionRequest())
    (own,) = response.results[0].sequences[0].attention
    assert (list(own.shape), names(own.key)) == ([1, 2, 2, 5], ["[UNK]", "a", "b", "h", "b"])
    assert [(token.start, token.end) for token in own.key.tokens.tokens] == [(0, 0), (0, 1), (2, 3), (0, 0), (0, 0)]


async def test_reductions_and_the_strongest_keys_apply(caller, served):
    wanted = attention_pb2.AttentionRequest(names=["cross"], reduction=attention_pb2.REDUCTION_MEAN, top_k=1)
    response = await caller.generate("a b c", attention=wanted)
    (cross,) = response.results[0].sequences[0].attention
    assert weights_of(cross).tolist() == [[0.75]] * 3
    assert np.frombuffer(cross.key_indices, "<u4").tolist() == [2, 1, 0]
    assert names(cross.key) == ["a", "b", "c"]
    assert served.ledger.attention == [("dates", 1)]


async def test_no_attention_is_collected_unasked(caller, book):
    await caller.generate("a b c")
    assert book.begun[0].outputs == ()


# --- streams ---


async def test_a_stream_tells_first_what_is_known_then_each_token_then_the_end(caller):
    start, *middle, last = await caller.streamed("a b c", prefix="g", request_id="mine")
    assert start == wire.GenerateStreamResponse(
        start=wire.GenerationStart(
            model=common_pb2.ModelVersion(name="dates", version=1),
            request_id="mine",
            prompt_tokens=4,
            truncation=common_pb2.TruncationReport(kept_length=3, original_length=3),
        )
    )
    assert "".join(message.text for message in (*middle, last)) == "c b a"
    assert [[token.id for token in message.tokens] for message in (*middle, last)] == [[3], [2], [1]]
    assert [message.at_s for message in (*middle, last)] == [0.25, 0.5, 0.75]
    assert not any(message.HasField("end") for message in middle)
    assert (last.end.finish_reason, last.end.score, last.end.timing.steps) == (wire.FINISH_REASON_END, -1.5, 3)


async def test_a_streamed_seed_and_log_probabilities_are_told(caller, book):
    decoding = wire.Decoding(temperature=1, logprobs=True, top_logprobs=1)
    start, first, _ = await caller.streamed("a b", decoding=decoding)
    assert start.start.seed == book.begun[0].decoding.seed > 0
    assert (first.tokens[0].logprob, first.tokens[0].top[0].logprob) == (-0.5, -0.5)


async def test_attention_is_streamed_with_its_token_and_whole_at_the_end(caller):
    arguments = {"attention": attention_pb2.AttentionRequest(), "whole_attention": True}
    start, first, second = await caller.streamed("a b", prefix="h", **arguments)
    cross, own = start.start.attention
    assert (cross.name, names(cross.labels), cross.growing) == ("cross", ["a", "b"], False)
    assert (own.name, names(own.labels), own.growing) == ("self", ["[UNK]", "h"], True)
    assert [list(one.shape) for one in first.attention] == [[1, 2, 1, 2], [1, 2, 1, 2]]
    assert [list(one.shape) for one in second.attention] == [[1, 2, 1, 2], [1, 2, 1, 3]]
    assert names(second.attention[0].query) == ["a"]
    assert not names(second.attention[0].key)
    whole, _ = second.end.attention
    assert (list(whole.shape), names(whole.query), names(whole.key)) == ([1, 2, 2, 2], ["b", "a"], ["a", "b"])


async def test_whole_maps_come_only_where_asked_for(caller):
    *_, last = await caller.streamed("a b", attention=attention_pb2.AttentionRequest())
    assert len(last.attention) == 2
    assert not last.end.attention


async def test_a_stream_is_counted_as_a_call(caller, served):
    await caller.streamed("a b")
    assert served.ledger.calls == [("GenerateStream", "dates", 1, "OK")]


# --- ends ---


async def test_a_caller_that_leaves_lets_go_of_its_text(caller, book, served):
    book.gate = asyncio.Event()
    call = caller.stream("a b c")
    await call.read()
    await call.read()
    call.cancel()
    await reached(lambda: book.begun[0].cancelled and served.ledger.calls)
    assert served.ledger.calls == [("GenerateStream", "dates", 1, "CANCELLED")]


async def test_a_caller_that_leaves_generate_lets_go_of_all_its_texts(caller, book, served):
    book.gate = asyncio.Event()
    asked = asyncio.ensure_future(caller.generate("a b c", "d e f"))
    await reached(lambda: len(book.begun) == 2)
    asked.cancel()
    await reached(lambda: all(writing.cancelled for writing in book.begun))
    assert [writing.cancelled for writing in book.begun] == [1, 1]


async def test_a_deadline_reaches_the_writer_and_ends_the_stream(caller, book, served):
    book.gate = asyncio.Event()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await caller.streamed("a b c", timeout=0.2)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await reached(lambda: book.begun[0].cancelled)
    assert book.begun[0].deadline is not None


async def test_a_text_that_cannot_begin_takes_the_others_with_it(caller, book):
    book.refusals[1] = QueueFull("no room", {"retry_after_s": "2"})
    found = await refused(caller.generate("a b", "c d", "e f"))
    assert (found.code, found.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL")
    assert (found.message, found.metadata["input"]) == ("input 1: no room", "1")
    assert [writing.cancelled for writing in book.begun] == [1]


async def test_a_text_that_fails_takes_the_others_with_it(caller, book):
    book.failures[1] = InferenceFailed("the session failed")
    assert (await refused(caller.generate("a b c d e f g", "a b c d"))).reason == "INFERENCE_FAILED"
    assert book.begun[0].cancelled


async def test_a_failure_ends_a_stream_after_what_was_written(caller, book):
    book.failures[0] = ReaderTooSlow("nobody read")
    call = caller.stream("a b c d")
    assert "".join([(await call.read()).text for _ in range(3)]) == "d c"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert refusal(caught.value).reason == "READER_TOO_SLOW"


async def test_a_drain_lets_running_streams_finish_and_refuses_new_ones(caller, book, served):
    book.gate = asyncio.Event()
    reading = asyncio.ensure_future(caller.streamed("a b c"))
    await reached(lambda: book.begun)
    served.registry.drain()
    draining = asyncio.ensure_future(served.rpc.drain())
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await caller.streamed("d")
    assert refusal(caught.value).reason == "DRAINING"
    assert not draining.done()
    book.gate.set()
    assert "".join(message.text for message in await reading) == "c b a"
    await draining


# --- refusals ---

TOO_LONG = "a " * 17


@pytest.mark.parametrize(
    ("texts", "fields", "reason"),
    [
        ([], {}, "INPUT_EMPTY"),
        ([""], {}, "INPUT_EMPTY"),
        ([TOO_LONG], {}, "SEQUENCE_TOO_LONG"),
        (["a"], {"prefix": "ß"}, "INPUT_UNDECODABLE"),
        (["a"], {"prefix": "a " * 2000 + "ß"}, "INPUT_UNDECODABLE"),
        (["a"], {"prefix": "a " * 2**19 + "a"}, "PAYLOAD_TOO_LARGE"),
        (["a"], {"model": "nobody"}, "MODEL_NOT_FOUND"),
        (["a"], {"model": "areas"}, "TASK_NOT_SUPPORTED"),
        (["a"], {"truncation": 9}, "PARAMETER_INVALID"),
        (["a"], {"decoding": wire.Decoding(temperature=-1)}, "PARAMETER_INVALID"),
        (["a"], {"decoding": wire.Decoding(temperature=float("nan"))}, "PARAMETER_INVALID"),
        (["a"], {"decoding": wire.Decoding(num_beams=2, temperature=1)}, "PARAMETER_INVALID"),
        (["a"], {"decoding": wire.Decoding(top_k=2)}, "PARAMETER_INVALID"),
        (["a"], {"decoding": wire.Decoding(min_tokens=5, max_tokens=4)}, "PARAMETER_INVALID"),
        (["a"], {"decoding": wire.Decoding(min_tokens=9)}, "PARAMETER_INVALID"),
        (["a"], {"decoding": wire.Decoding(num_sequences=2)}, "PARAMETER_INVALID"),
        (["a"], {"decoding": wire.Decoding(seed=2**63)}, "PARAMETER_INVALID"),
        (["a"], {"decoding": wire.Decoding(stop=[""])}, "PARAMETER_INVALID"),
        (["a"], {"decoding": wire.Decoding(top_logprobs=2)}, "PARAMETER_INVALID"),
        (["a"], {"attention": attention_pb2.AttentionRequest(names=["nothing"])}, "PARAMETER_INVALID"),
        (
            ["a"],
            {"model": "story", "attention": attention_pb2.AttentionRequest(reduction=attention_pb2.REDUCTION_ROLLOUT)},
            "PARAMETER_INVALID",
        ),
    ],
)
async def test_what_cannot_be_written_is_refused_before_anything_begins(caller, book, texts, fields, reason):
    assert (await refused(caller.generate(*texts, **fields))).reason == reason
    if len(texts) == 1:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await caller.streamed(texts[0], **fields)
        assert refusal(caught.value).reason == reason
    assert book.begun == []


async def test_the_input_at_fault_is_named(caller):
    found = await refused(caller.generate("a", "", "b"))
    assert (found.code, found.metadata["input"]) == (INVALID, "1")
    assert found.message.startswith("input 1: ")


async def test_an_image_is_no_text(caller):
    request = wire.GenerateRequest(model=common_pb2.ModelRef(name="dates"), inputs=[wire.GenerateInput(image=b"x")])
    found = await refused(caller.send(ATTENDANT, "Generate", request.SerializeToString()))
    assert found.reason == "SIGNATURE_MISMATCH"


async def test_a_text_that_is_not_utf8_is_a_malformed_message(caller):
    request = wire.GenerateRequest(model=common_pb2.ModelRef(name="dates"), inputs=[wire.GenerateInput(text="abc")])
    found = await refused(
        caller.send(ATTENDANT, "Generate", request.SerializeToString().replace(b"abc", b"\xff\xfe\xfd"))
    )
    assert found.reason == "MESSAGE_MALFORMED"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"decoding": wire.Decoding(num_beams=2, num_sequences=2)}, "several sequences"),
        ({"whole_attention": True}, "needs attention"),
    ],
)
async def test_what_no_stream_can_give_is_refused(caller, fields, words):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await caller.streamed("a", **fields)
    found = refusal(caught.value)
    assert (found.reason, words in found.message) == ("PARAMETER_INVALID", True)


async def test_a_stream_without_an_input_is_refused(caller):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await caller.streamed(None)
    assert refusal(caught.value).reason == "INPUT_EMPTY"


async def test_a_model_that_writes_does_not_classify(caller):
    found = await refused(caller.classify(classify_request("dates", "a")))
    assert (found.code, found.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "TASK_NOT_SUPPORTED")


async def test_attention_is_bounded_by_the_longest_text_that_may_come(tmp_path, book):
    settings = make_settings(security={"max_attention_bytes": 400})

    async def ask(caller: Generator, reduction: "attention_pb2.Reduction") -> Refusal | wire.GenerateResponse:
        wanted = attention_pb2.AttentionRequest(names=["cross"], reduction=reduction)
        return await caller.generate("a b c d e f g", decoding=wire.Decoding(max_tokens=8), attention=wanted)

    async with (
        serving_writers(book, tmp_path, MODELS, settings) as served,
        grpc.aio.insecure_channel(served.address) as channel,
    ):
        caller = Generator(channel)
        found = await refused(ask(caller, attention_pb2.REDUCTION_UNSPECIFIED))  # 2 heads, 8 tokens, 7 words
        assert (found.reason, found.metadata["bytes"]) == ("ATTENTION_TOO_LARGE", str(4 * 2 * 8 * 7))
        assert found.metadata["fitting_reduction"] == "mean_heads"
        assert texts_of(await ask(caller, attention_pb2.REDUCTION_MEAN)) == ["g f e d c b a"]
        whole = caller.streamed(
            "a b c d e f g",
            decoding=wire.Decoding(max_tokens=8),
            attention=attention_pb2.AttentionRequest(names=["cross"], reduction=attention_pb2.REDUCTION_MEAN),
            whole_attention=True,
        )
        found = await refused(whole)
        assert (found.reason, found.metadata["bytes"]) == ("ATTENTION_TOO_LARGE", str(2 * 4 * 8 * 7))


async def test_too_many_inputs_are_refused(tmp_path, book):
    settings = make_settings(security={"max_inputs": 2})
    async with (
        serving_writers(book, tmp_path, MODELS, settings) as served,
        grpc.aio.insecure_channel(served.address) as channel,
    ):
        found = await refused(Generator(channel).generate("a", "b", "c"))
    assert (found.reason, found.metadata["max_rows"]) == ("TOO_MANY_ROWS", "2")
