import pytest
from attendant.classify import CLASSIFY, Label, classify_call, parse_classify
from attendant.common import ModelVersion, Timing, TruncationReport
from attendant.v1 import attention_pb2, classify_pb2, common_pb2


def test_request_carries_every_argument():
    call = classify_call(
        "areas",
        ["a text", b"pixels"],
        alias="canary",
        top_k=2,
        score_threshold=0.25,
        truncation="cut_start",
        attention=True,
        request_id="mine",
    )
    assert call.method is CLASSIFY
    assert call.request_id == "mine"
    assert call.request == classify_pb2.ClassifyRequest(
        model=common_pb2.ModelRef(name="areas", alias="canary"),
        inputs=[classify_pb2.ClassifyInput(text="a text"), classify_pb2.ClassifyInput(image=b"pixels")],
        top_k=2,
        score_threshold=0.25,
        truncation=common_pb2.TRUNCATION_CUT_START,
        attention=attention_pb2.AttentionRequest(reduction=attention_pb2.REDUCTION_MEAN),
        request_id="mine",
    )


def test_default_request_refuses_long_texts_and_asks_for_no_attention():
    request = classify_call("areas", ["a text"]).request
    assert request.truncation == common_pb2.TRUNCATION_REFUSE
    assert not request.HasField("attention")


def test_each_call_gets_its_own_request_id():
    first, second = classify_call("areas", ["a"]), classify_call("areas", ["a"])
    assert first.request_id == first.request.request_id
    assert len({first.request_id, second.request_id, ""}) == 3


@pytest.mark.parametrize("wrong", [{"top_k": -1}, {"version": 2**63}, {"truncation": "middle"}])
def test_arguments_that_the_wire_cannot_carry_are_refused(wrong):
    with pytest.raises(ValueError):
        classify_call("areas", ["a"], **wrong)


def test_text_that_is_no_unicode_is_refused():
    with pytest.raises(ValueError):
        classify_call("areas", ["\ud800"])


def test_reply_is_read_into_typed_results_in_order():
    reply = classify_pb2.ClassifyResponse(
        model=common_pb2.ModelVersion(name="areas", version=3, alias="stable"),
        results=[
            classify_pb2.Classification(
                labels=[
                    classify_pb2.Label(name="numpy", index=4, score=0.5),
                    classify_pb2.Label(name="io", score=0.25),
                ],
                truncation=common_pb2.TruncationReport(truncated=True, kept_length=8, original_length=9),
                timing=common_pb2.Timing(queue_s=0.5, compute_s=0.25, batch_rows=7),
            ),
            classify_pb2.Classification(),
        ],
        timing=common_pb2.Timing(request_s=2),
        request_id="mine",
    )
    result = parse_classify(reply)
    assert (result.model, result.request_id) == (ModelVersion("areas", 3, "stable"), "mine")
    assert result.timing == Timing(0, 0, 2, 0)
    first, second = result
    assert first is result[0]
    assert len(result) == 2
    assert first.labels == (Label("numpy", 4, 0.5), Label("io", 0, 0.25))
    assert first.best == Label("numpy", 4, 0.5)
    assert first.truncation == TruncationReport(True, 8, 9)
    assert first.timing == Timing(0.5, 0.25, 0, 7)
    assert (second.labels, second.best, second.truncation, second.attention) == ((), None, None, ())
