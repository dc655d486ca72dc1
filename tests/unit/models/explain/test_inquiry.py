import json

import numpy as np
import pytest
from onnx import TensorProto, helper
from tokenizers import Tokenizer, models, pre_tokenizers

from models.explain.content import read_content
from models.explain.explanation import Gradient, Missing
from models.explain.inquiry import Inquiry, explain
from models.explain.version import opened_version
from server.codecs import Truncation
from server.errors import ParameterInvalid
from server.manifest import (
    AttentionSpec,
    FixedAxis,
    FreeAxis,
    InputSpec,
    LengthAxis,
    OutputSpec,
    RowAxis,
    TokenAxis,
)
from server.tensors import Datatype
from tests.support.artifacts import graph_bytes, write_folder, write_signed
from tests.unit.models.explain.made_up import TEXT

WORDS = ["[PAD]", "[UNK]", "good", "bad", "film"]


def test_everything_is_known_of_a_model_of_this_registry(opened):
    version, content = opened
    explanation = explain(version, content)
    assert list(explanation.missing()) == []
    assert explanation.parity.within
    assert explanation.label == explanation.scores.best()[0]
    (mechanism,) = explanation.mechanisms
    heads = [(layer.number, head) for layer in mechanism.layers for head in layer.heads]
    assert [(effect.layer, effect.head) for effect in mechanism.ablation] == heads
    assert len(mechanism.gradient.layers) == len(version.manifest.attention[0].outputs)


def test_probability_is_the_served_one(opened):
    version, content = opened
    explanation = explain(version, content, Inquiry(label="1"))
    logits = version.run(dict(content.row.inputs))["logits"][0].astype(np.float64)
    expected = np.exp(logits) / np.exp(logits).sum()
    assert (explanation.label_name, explanation.probability) == ("class 1", pytest.approx(expected[1]))


def test_choice_of_layers_and_heads_leaves_rollout_and_gradients_whole(store):
    with opened_version(store, "areas") as version:
        content = read_content(TEXT, version.codec)
        (whole,) = explain(version, content).mechanisms
        (chosen,) = explain(version, content, Inquiry(layers=(1,), heads=(0,))).mechanisms
    assert [(layer.number, layer.heads) for layer in chosen.layers] == [(1, (0,))]
    assert [(effect.layer, effect.head) for effect in chosen.ablation] == [(1, 0)]
    assert np.array_equal(chosen.rollout, whole.rollout)
    assert len(chosen.gradient.layers) == 2


def test_truncation_is_told(store):
    with opened_version(store, "areas") as version:
        explanation = explain(version, read_content("a " * 100, version.codec, Truncation.END))
    assert explanation.notes == ("the text has 100 tokens and was cut to the 64 that the model takes",)
    assert len(explanation.mechanisms[0].key) == 64


@pytest.fixture
def hugging_face(tmp_path):
    """An export of another library with attention outputs and no checkpoint."""
    node = helper.make_node
    weights = {
        "words": np.random.default_rng(0).normal(size=(len(WORDS), 4)).astype(np.float32),
        "classes": np.ones((4, 2), np.float32),
        "second": np.array([1], np.int64),
    }
    nodes = [
        node("Gather", ["words", "input_ids"], ["word"]),
        node("Transpose", ["word"], ["key"], perm=[0, 2, 1]),
        node("MatMul", ["word", "key"], ["scores"]),
        node("Softmax", ["scores"], ["weights"], axis=-1),
        node("Unsqueeze", ["weights", "second"], ["attentions.0"]),
        node("MatMul", ["weights", "word"], ["context"]),
        node("ReduceMean", ["context"], ["mean"], axes=[1], keepdims=0),
        node("MatMul", ["mean", "classes"], ["logits"]),
    ]
    graph = graph_bytes(
        nodes,
        {"input_ids": (TensorProto.INT64, ("batch", "sequence"))},
        {
            "logits": (TensorProto.FLOAT, ("batch", 2)),
            "attentions.0": (TensorProto.FLOAT, ("batch", 1, "sequence", "sequence")),
        },
        weights,
    )
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token=WORDS[1]))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    config = {"architectures": ["BertForSequenceClassification"], "id2label": {"0": "no", "1": "yes"}}
    files = {"model.onnx": graph, "tokenizer.json": tokenizer.to_str(), "config.json": json.dumps(config)}
    write_folder(tmp_path / "film" / "1", files)
    return tmp_path


def test_of_another_librarys_export_weights_and_rollout_are_known_and_the_rest_is_missing(hugging_face):
    with opened_version(hugging_face, "film") as version:
        explanation = explain(version, read_content("good bad film", version.codec))
    (mechanism,) = explanation.mechanisms
    assert mechanism.layers[0].weights.shape == (1, 3, 3)
    assert mechanism.rollout.shape == (3, 3)
    assert [token.text for token in mechanism.key] == ["good", "bad", "film"]
    assert list(explanation.missing()) == [
        "no comparison with PyTorch, gradients, head ablation: the version has no checkpoint.safetensors"
    ]


@pytest.fixture
def bare(tmp_path):
    """Cross-attention over tensors: no codec, no labels, no checkpoint, queries and keys of different number."""
    node = helper.make_node
    nodes = [
        node("Transpose", ["key"], ["turned"], perm=[0, 2, 1]),
        node("MatMul", ["query", "turned"], ["scores"]),
        node("Softmax", ["scores"], ["soft"], axis=-1),
        node("Unsqueeze", ["soft", "second"], ["weights"]),
    ]
    inputs = {name: (TensorProto.FLOAT, ("batch", f"{name}s", "width")) for name in ("query", "key")}
    graph = graph_bytes(
        nodes,
        inputs,
        {"weights": (TensorProto.FLOAT, ("batch", 1, "querys", "keys"))},
        {"second": np.array([1], np.int64)},
    )
    queries, keys = LengthAxis(name="queries"), LengthAxis(name="keys")
    write_signed(
        tmp_path,
        {"model.onnx": graph},
        name="cross",
        inputs=tuple(
            InputSpec(name=name, datatype=Datatype.FP32, axes=(RowAxis(), length, FreeAxis()))
            for name, length in (("query", queries), ("key", keys))
        ),
        outputs=(
            OutputSpec(
                name="weights",
                datatype=Datatype.FP32,
                axes=(RowAxis(), FixedAxis(size=1), queries, keys),
                role="attention",
            ),
        ),
        attention=(
            AttentionSpec(
                name="pairs",
                mechanism="dot",
                outputs=("weights",),
                query=TokenAxis(length="queries"),
                key=TokenAxis(length="keys"),
            ),
        ),
    )
    arrays = {"query": np.ones((1, 2, 3), np.float32), "key": np.eye(4, 3, dtype=np.float32)[None]}
    np.savez(tmp_path / "row.npz", **arrays)
    return tmp_path


def test_bare_cross_attention_shows_its_weights_and_says_why_there_is_no_more(bare):
    with opened_version(bare, "cross") as version:
        content = read_content(str(bare / "row.npz"), version.codec)
        explanation = explain(version, content)
        with pytest.raises(ParameterInvalid, match="no label 'yes': the model does not score labels"):
            explain(version, content, Inquiry(label="yes"))
    (mechanism,) = explanation.mechanisms
    assert mechanism.layers[0].weights.shape == (1, 2, 4)
    assert ([t.text for t in mechanism.query], len(mechanism.key)) == (["0", "1"], 4)
    assert isinstance(mechanism.rollout, Missing)
    assert not isinstance(mechanism.gradient, Gradient)
    assert len(list(explanation.missing())) == 3
