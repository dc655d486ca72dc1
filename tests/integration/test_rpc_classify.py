import math

import grpc
import numpy as np
import pytest
from attendant.v1 import attention_pb2, classify_pb2, common_pb2

from server.tensors import Datatype
from tests.support.calls import Caller, classify_request, png, refused
from tests.support.fakes import (
    echo_model,
    image_model,
    make_settings,
    scoreless_model,
    serving_fakes,
    text_model,
)

INVALID = grpc.StatusCode.INVALID_ARGUMENT


@pytest.fixture
async def served(tmp_path):
    models = [
        text_model(),
        text_model(version=2, aliases=("stable",)),
        text_model(version=3, aliases=("canary",)),
        text_model("plain"),
        image_model(),
        scoreless_model(),
        echo_model(Datatype.FP32),
    ]
    async with serving_fakes(models, tmp_path) as server:
        yield server


@pytest.fixture
async def caller(served):
    async with grpc.aio.insecure_channel(served.address) as channel:
        yield Caller(channel)


def softmax(*logits: float) -> list[float]:
    return (np.exp(logits) / np.exp(logits).sum()).tolist()


def weights_of(one: attention_pb2.AttentionMap) -> np.ndarray:
    return np.frombuffer(one.weights, dtype="<f4").reshape(one.shape)


# --- answers ---


async def test_labels_come_by_falling_probability(caller):
    response = await caller.classify(classify_request("areas", "b b a"))  # ids 2 2 1: logits 0 1 2
    labels = response.results[0].labels
    assert [(label.name, label.index) for label in labels] == [("two", 2), ("one", 1), ("zero", 0)]
    np.testing.assert_allclose([label.score for label in labels], softmax(2, 1, 0), rtol=1e-6)


async def test_each_input_gets_its_own_result_in_order(caller):
    texts = ["a", "b", "c", "a a a a a a", "b b"]
    response = await caller.classify(classify_request("areas", *texts, top_k=1))
    assert [result.labels[0].name for result in response.results] == ["one", "two", "zero", "one", "two"]


async def test_probabilities_of_the_model_are_not_changed(caller):
    response = await caller.classify(classify_request("digits", png(255), png(51)))
    assert [[(label.name, round(label.score, 3)) for label in result.labels] for result in response.results] == [
        [("1", 1.0), ("0", 0.0)],
        [("0", 0.8), ("1", 0.2)],
    ]


async def test_top_k_and_threshold_leave_labels_out(caller):
    response = await caller.classify(classify_request("areas", "b b a", top_k=2))
    assert [label.name for label in response.results[0].labels] == ["two", "one"]
    response = await caller.classify(classify_request("areas", "b b a", score_threshold=0.5))
    assert [label.name for label in response.results[0].labels] == ["two"]
    response = await caller.classify(classify_request("areas", "a b c", score_threshold=1))
    assert list(response.results[0].labels) == []


async def test_equal_scores_come_by_index(caller):
    response = await caller.classify(classify_request("areas", "a b c"))
    assert [label.index for label in response.results[0].labels] == [0, 1, 2]


@pytest.mark.parametrize(
    ("selector", "version", "alias"),
    [({}, 2, "stable"), ({"version": 1}, 1, ""), ({"version": 2}, 2, ""), ({"alias": "canary"}, 3, "canary")],
)
async def test_reply_says_which_version_answered(caller, selector, version, alias):
    request = classify_request("areas", "a")
    request.model.MergeFrom(common_pb2.ModelRef(**selector))
    model = (await caller.classify(request)).model
    assert (model.name, model.version, model.alias) == ("areas", version, alias)


async def test_latest_version_answers_without_a_stable_alias(caller):
    model = (await caller.classify(classify_request("plain", "a"))).model
    assert (model.version, model.alias) == (1, "")


async def test_reply_carries_timing_and_request_id(caller):
    response = await caller.classify(classify_request("areas", "a", "b c", request_id="mine"))
    assert response.request_id == "mine"
    assert response.timing.request_s > 0
    assert response.timing.compute_s == max(result.timing.compute_s for result in response.results) > 0
    assert all(result.timing.batch_rows >= 1 and result.timing.request_s == 0 for result in response.results)


async def test_a_missing_request_id_is_made_up(caller):
    first = await caller.classify(classify_request("areas", "a"))
    second = await caller.classify(classify_request("areas", "a"))
    assert first.request_id
    assert first.request_id != second.request_id


async def test_request_id_may_come_as_a_header(caller):
    response = await caller.classify(classify_request("areas", "a"), metadata=(("x-request-id", "from-proxy"),))
    assert response.request_id == "from-proxy"


async def test_an_unusable_header_is_ignored(caller):
    response = await caller.classify(classify_request("areas", "a"), metadata=(("x-request-id", "x" * 129),))
    assert len(response.request_id) == 32


# --- truncation ---


async def test_truncation_is_reported(caller):
    long = " ".join("a" * 10 + "b" * 10)
    request = classify_request("areas", long, "a", truncation=common_pb2.TRUNCATION_CUT_END)
    results = (await caller.classify(request)).results
    assert results[0].truncation == common_pb2.TruncationReport(truncated=True, kept_length=16, original_length=20)
    assert results[1].truncation == common_pb2.TruncationReport(truncated=False, kept_length=1, original_length=1)


async def test_truncation_cuts_the_end_that_was_asked_for(caller):
    long = " ".join("a" * 10 + "b" * 10)
    cut_end = classify_request("areas", long, truncation=common_pb2.TRUNCATION_CUT_END, top_k=1)
    cut_start = classify_request("areas", long, truncation=common_pb2.TRUNCATION_CUT_START, top_k=1)
    assert (await caller.classify(cut_end)).results[0].labels[0].name == "one"
    assert (await caller.classify(cut_start)).results[0].labels[0].name == "two"


@pytest.mark.parametrize("choice", [common_pb2.TRUNCATION_UNSPECIFIED, common_pb2.TRUNCATION_REFUSE])
async def test_a_long_text_is_refused_unless_truncation_is_chosen(caller, choice):
    refusal = await refused(caller.classify(classify_request("areas", "a", " ".join("a" * 17), truncation=choice)))
    assert (refusal.code, refusal.reason, refusal.metadata["input"]) == (INVALID, "SEQUENCE_TOO_LONG", "1")
    assert refusal.message.startswith("input 1: ")


async def test_images_have_no_truncation_report(caller):
    assert not (await caller.classify(classify_request("digits", png()))).results[0].HasField("truncation")


# --- attention ---


async def test_no_attention_unless_asked_for(caller, served):
    assert not (await caller.classify(classify_request("areas", "a"))).results[0].attention
    assert served.ledger.attention == []


async def test_all_maps_come_cropped_with_tokens(caller, served):
    request = classify_request("areas", "a c", "h g f e d c b a", attention=attention_pb2.AttentionRequest())
    results = (await caller.classify(request)).results
    (one,) = results[0].attention
    assert (one.name, one.reduction) == ("encoder", attention_pb2.REDUCTION_UNSPECIFIED)
    assert (list(one.layers), list(one.heads), list(one.shape)) == ([0, 1], [0, 1], [2, 2, 2, 2])
    np.testing.assert_allclose(weights_of(one)[0, 0], [[2 / 6, 4 / 6]] * 2, rtol=1e-6)
    np.testing.assert_allclose(weights_of(one)[1, 1], [[4 / 10, 6 / 10]] * 2, rtol=1e-6)
    tokens = [(token.text, token.start, token.end) for token in one.key.tokens.tokens]
    assert tokens == [("a", 0, 1), ("c", 2, 3)]
    assert one.query == one.key
    assert list(results[1].attention[0].shape) == [2, 2, 8, 8]
    assert served.ledger.attention == [("areas", 2)]


@pytest.mark.parametrize(
    ("reduction", "layers", "heads", "shape"),
    [
        (attention_pb2.REDUCTION_MEAN_HEADS, [0, 1], [], [2, 2, 2]),
        (attention_pb2.REDUCTION_MEAN, [], [], [2, 2]),
        (attention_pb2.REDUCTION_MAX, [], [], [2, 2]),
        (attention_pb2.REDUCTION_ROLLOUT, [], [], [2, 2]),
    ],
)
async def test_reductions_leave_axes_out(caller, reduction, layers, heads, shape):
    request = classify_request("areas", "a c", attention=attention_pb2.AttentionRequest(reduction=reduction))
    (one,) = (await caller.classify(request)).results[0].attention
    assert (one.reduction, list(one.layers), list(one.heads), list(one.shape)) == (reduction, layers, heads, shape)
    assert weights_of(one).shape == tuple(shape)


async def test_layers_heads_and_strongest_keys_are_chosen(caller):
    wanted = attention_pb2.AttentionRequest(names=["encoder"], layers=[1], heads=[0], top_k=1)
    (one,) = (await caller.classify(classify_request("areas", "a c b", attention=wanted))).results[0].attention
    assert (list(one.layers), list(one.heads), list(one.shape)) == ([1], [0], [1, 1, 3, 1])
    assert np.frombuffer(one.key_indices, dtype="<u4").tolist() == [1, 1, 1]
    np.testing.assert_allclose(weights_of(one).ravel(), [5 / 12] * 3, rtol=1e-6)


async def test_image_maps_are_labelled_with_cells(caller):
    request = classify_request("digits", png(), attention=attention_pb2.AttentionRequest())
    (one,) = (await caller.classify(request)).results[0].attention
    assert one.query.cells == attention_pb2.Cells(rows=2, columns=2)
    assert weights_of(one).shape == (1, 1, 4, 4)


@pytest.mark.parametrize(
    "wanted",
    [
        {"names": ["decoder"]},
        {"layers": [2]},
        {"heads": [2]},
        {"layers": [4294967295]},
        {"layers": [0, 0]},
        {"layers": [0] * 2000},
        {"reduction": 9},
        {"reduction": attention_pb2.REDUCTION_ROLLOUT, "layers": [0]},
    ],
)
async def test_attention_that_the_model_does_not_have_is_refused(caller, wanted):
    request = classify_request("areas", "a", attention=attention_pb2.AttentionRequest(**wanted))
    refusal = await refused(caller.classify(request))
    assert (refusal.code, refusal.reason) == (INVALID, "PARAMETER_INVALID")


async def test_attention_of_all_inputs_together_is_bounded_before_anything_runs(tmp_path):
    settings = make_settings(security={"max_attention_bytes": 300})
    async with (
        serving_fakes([text_model()], tmp_path, settings) as served,
        grpc.aio.insecure_channel(served.address) as channel,
    ):
        caller = Caller(channel)
        attention = attention_pb2.AttentionRequest()
        # one map of two tokens takes 2 layers * 2 heads * 2 * 2 weights of 4 bytes: 64
        await caller.classify(classify_request("areas", *["a b"] * 4, attention=attention))
        served.ledger.batches.clear()
        refusal = await refused(caller.classify(classify_request("areas", *["a b"] * 5, attention=attention)))
        assert (refusal.code, refusal.reason) == (INVALID, "ATTENTION_TOO_LARGE")
        assert (refusal.metadata["bytes"], refusal.metadata["max_bytes"]) == ("320", "300")
        assert served.ledger.batches == []


# --- refusals ---


def no_content() -> classify_pb2.ClassifyRequest:
    request = classify_request("areas", "a")
    request.inputs.add()
    return request


@pytest.mark.parametrize(
    ("request_", "reason", "input_index"),
    [
        (classify_request("areas"), "INPUT_EMPTY", None),
        (classify_request("areas", "a", ""), "INPUT_EMPTY", "1"),
        (classify_request("areas", "a", " \n"), "INPUT_EMPTY", "1"),
        (no_content(), "INPUT_EMPTY", "1"),
        (classify_request("digits", png(), "a"), "SIGNATURE_MISMATCH", "1"),
        (classify_request("areas", png()), "SIGNATURE_MISMATCH", "0"),
        (classify_request("digits", png(), b""), "INPUT_EMPTY", "1"),
        (classify_request("digits", png(), b"\x89PNG\r\n\x1a\nnonsense"), "INPUT_UNDECODABLE", "1"),
        (classify_request("digits", png()[:40]), "INPUT_UNDECODABLE", "0"),
        (classify_request("digits", png(size=(5000, 5000))), "PAYLOAD_TOO_LARGE", "0"),
        (classify_request("areas", "a", score_threshold=-0.1), "PARAMETER_INVALID", None),
        (classify_request("areas", "a", score_threshold=1.1), "PARAMETER_INVALID", None),
        (classify_request("areas", "a", score_threshold=math.nan), "PARAMETER_INVALID", None),
        (classify_request("areas", "a", score_threshold=math.inf), "PARAMETER_INVALID", None),
        (classify_request("areas", "a", truncation=17), "PARAMETER_INVALID", None),
        (classify_request("areas", "a", request_id="x" * 129), "PARAMETER_INVALID", None),
        (classify_request("areas", "a", request_id="a\nb"), "PARAMETER_INVALID", None),
        (classify_request("areas", *["a"] * 257), "TOO_MANY_ROWS", None),
    ],
)
async def test_what_cannot_be_used_is_refused(caller, request_, reason, input_index):
    refusal = await refused(caller.classify(request_))
    assert (refusal.code, refusal.reason) == (INVALID, reason)
    assert refusal.metadata.get("input") == input_index


@pytest.mark.parametrize(
    ("model", "selector", "reason"),
    [
        ("nobody", {}, "MODEL_NOT_FOUND"),
        ("", {}, "MODEL_NOT_FOUND"),
        ("../areas", {}, "MODEL_NOT_FOUND"),
        ("areas/../areas", {}, "MODEL_NOT_FOUND"),
        ("x" * 100_000, {}, "MODEL_NOT_FOUND"),
        ("areas", {"version": 9}, "VERSION_NOT_FOUND"),
        ("areas", {"version": 0}, "VERSION_NOT_FOUND"),
        ("areas", {"version": -1}, "VERSION_NOT_FOUND"),
        ("areas", {"version": 2**63 - 1}, "VERSION_NOT_FOUND"),
        ("areas", {"alias": "beta"}, "VERSION_NOT_FOUND"),
        ("areas", {"alias": ""}, "VERSION_NOT_FOUND"),
        ("areas", {"alias": "../stable"}, "VERSION_NOT_FOUND"),
    ],
)
async def test_an_unknown_model_version_or_alias_is_not_found(caller, model, selector, reason):
    request = classify_request(model, "a")
    request.model.MergeFrom(common_pb2.ModelRef(**selector))
    refusal = await refused(caller.classify(request))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, reason)
    assert len(refusal.message) < 300


@pytest.mark.parametrize("model", ["embedder", "echo_fp32"])
async def test_a_model_for_something_else_is_refused(caller, model):
    refusal = await refused(caller.classify(classify_request(model, "a")))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "TASK_NOT_SUPPORTED")


async def test_a_bad_input_costs_nobody_else_anything(caller, served):
    bad = caller.classify(classify_request("areas", "a", ""))
    good = caller.classify(classify_request("areas", "b b", top_k=1))
    refusal, response = await refused(bad), await good
    assert refusal.reason == "INPUT_EMPTY"
    assert response.results[0].labels[0].name == "two"
    assert all(batch.rows == 1 for batch in served.ledger.batches)
