import pytest
from attendant.attention import Attention
from attendant.common import ModelVersion, Timing, TruncationReport
from attendant.generate import (
    GENERATE,
    Decoding,
    GeneratedToken,
    GenerationTiming,
    TokenProbability,
    generate_call,
    parse_generate,
)
from attendant.v1 import attention_pb2, common_pb2, generate_pb2


def test_request_carries_every_argument():
    call = generate_call(
        "dates",
        ["a text", b"pixels"],
        prefix=["so", ""],
        alias="canary",
        truncation="cut_start",
        attention=True,
        request_id="mine",
        max_tokens=9,
        min_tokens=1,
        stop=["x"],
        temperature=0.5,
        top_k=2,
        top_p=0.9,
        min_p=0.1,
        repetition_penalty=1.5,
        seed=0,
        num_beams=3,
        length_penalty=0.0,
        num_sequences=2,
        logprobs=True,
        top_logprobs=4,
    )
    assert call.method is GENERATE
    assert call.request_id == "mine"
    assert call.request == generate_pb2.GenerateRequest(
        model=common_pb2.ModelRef(name="dates", alias="canary"),
        inputs=[
            generate_pb2.GenerateInput(text="a text", prefix="so"),
            generate_pb2.GenerateInput(image=b"pixels"),
        ],
        decoding=generate_pb2.Decoding(
            max_tokens=9,
            min_tokens=1,
            stop=["x"],
            temperature=0.5,
            top_k=2,
            top_p=0.9,
            min_p=0.1,
            repetition_penalty=1.5,
            seed=0,
            num_beams=3,
            length_penalty=0,
            num_sequences=2,
            logprobs=True,
            top_logprobs=4,
        ),
        truncation=common_pb2.TRUNCATION_CUT_START,
        attention=attention_pb2.AttentionRequest(reduction=attention_pb2.REDUCTION_MEAN),
        request_id="mine",
    )


def test_every_choice_of_the_wire_is_an_argument():
    assert set(Decoding.__annotations__) == set(generate_pb2.Decoding.DESCRIPTOR.fields_by_name)


def test_default_request_is_greedy_and_refuses_long_texts():
    request = generate_call("dates", ["a"]).request
    assert not request.HasField("decoding")
    assert not request.HasField("attention")
    assert request.truncation == common_pb2.TRUNCATION_REFUSE


def test_a_seed_of_zero_is_a_seed():
    assert generate_call("dates", ["a"], seed=0).request.decoding.HasField("seed")
    assert not generate_call("dates", ["a"], temperature=1.0).request.decoding.HasField("seed")


def test_one_prefix_serves_all_inputs():
    request = generate_call("dates", ["a", "b"], prefix="so").request
    assert [each.prefix for each in request.inputs] == ["so", "so"]


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"max_tokens": -1}, ValueError),
        ({"prefix": ["one"]}, ValueError),
        ({"attention": Attention(reduction="median")}, ValueError),
        ({"truncation": "middle"}, ValueError),
        ({"warmth": 1.0}, TypeError),
        ({"stop": "one"}, TypeError),
    ],
)
def test_arguments_that_the_wire_cannot_carry_are_refused(wrong, error):
    with pytest.raises(error):
        generate_call("dates", ["a", "b"], **wrong)


def test_reply_is_read_into_typed_results_in_order():
    top = [generate_pb2.TokenProbability(id=7, text="seven", logprob=-0.25)]
    reply = generate_pb2.GenerateResponse(
        model=common_pb2.ModelVersion(name="dates", version=3, alias="stable"),
        results=[
            generate_pb2.Generation(
                sequences=[
                    generate_pb2.GeneratedSequence(
                        text="seven",
                        tokens=[generate_pb2.GeneratedToken(id=7, text="seven", logprob=-0.25, top=top)],
                        score=-0.5,
                        finish_reason=generate_pb2.FINISH_REASON_STOP,
                    ),
                    generate_pb2.GeneratedSequence(score=-2, finish_reason=99),
                ],
                prompt_tokens=4,
                seed=2**60,
                truncation=common_pb2.TruncationReport(truncated=True, kept_length=8, original_length=9),
                timing=generate_pb2.GenerationTiming(
                    queue_s=0.5, first_token_s=0.75, compute_s=0.25, steps=3, batch_rows=7
                ),
            ),
            generate_pb2.Generation(sequences=[generate_pb2.GeneratedSequence(text="x")]),
        ],
        timing=common_pb2.Timing(request_s=2),
        request_id="mine",
    )
    result = parse_generate(reply)
    assert (result.model, result.request_id) == (ModelVersion("dates", 3, "stable"), "mine")
    assert (result.timing, len(result)) == (Timing(0, 0, 2, 0), 2)
    first, second = result
    assert first is result[0]
    assert (first.text, first.best.ids, first.best.score, first.best.finish_reason) == ("seven", (7,), -0.5, "stop")
    assert first.best.tokens == (GeneratedToken(7, "seven", -0.25, (TokenProbability(7, "seven", -0.25),)),)
    assert first.sequences[1].finish_reason == "unknown"
    assert (first.prompt_tokens, first.seed) == (4, 2**60)
    assert first.truncation == TruncationReport(True, 8, 9)
    assert first.timing == GenerationTiming(0.5, 0.75, 0.25, 3, 7)
    assert (second.text, second.truncation) == ("x", None)
