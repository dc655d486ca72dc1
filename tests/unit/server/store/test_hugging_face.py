import json

import numpy as np
import pytest
from onnx import TensorProto, helper
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from server.codecs import build_codec
from server.errors import ArtifactCorrupt
from server.manifest import FixedAxis, LengthAxis, RowAxis, TextCodecSpec
from server.runtime.session import Session
from server.store.bundle import open_bundle
from server.tensors import NUMPY_DTYPES, Datatype
from tests.support.artifacts import graph_bytes, text_graph, write_folder

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "bad", "film"]
CONFIG = {
    "architectures": ["BertForSequenceClassification"],
    "model_type": "bert",
    "id2label": {"1": "positive", "0": "negative"},
    "max_position_embeddings": 32,
    "pad_token_id": 0,
}


def tokenizer():
    made = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token=WORDS[1]))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return made.to_str()


def opened(store, content=None, config=None, files=None, graph="model.onnx"):
    written = {
        "config.json": json.dumps(CONFIG | (config or {})),
        "tokenizer.json": tokenizer(),
        graph: content or text_graph("sequence", len(WORDS), 2),
        **(files or {}),
    }
    write_folder(store / "film" / "1", written)
    return open_bundle(store, "film", 1, max_bytes=1_000_000)


def test_classifier_is_a_text_classifier_with_its_labels_in_order(tmp_path):
    bundle = opened(tmp_path)
    assert (bundle.verified, bundle.manifest.task, bundle.labels) == (
        False,
        "text-classification",
        ("negative", "positive"),
    )
    length = LengthAxis(max=32)
    described = [(spec.name, spec.axes, spec.role, spec.optional) for spec in bundle.manifest.inputs]
    assert described == [
        ("input_ids", (RowAxis(), length), "data", False),
        ("attention_mask", (RowAxis(), length), "mask", True),
        ("token_type_ids", (RowAxis(), length), "data", True),
    ]
    (logits,) = bundle.manifest.outputs
    assert (logits.axes, logits.role) == ((RowAxis(), FixedAxis(size=2)), "logits")
    ids, mask, types = (spec.name for spec in bundle.manifest.inputs)
    assert bundle.manifest.codec == TextCodecSpec(max_length=32, input_ids=ids, mask=mask, token_type_ids=types)


def test_text_goes_through_codec_and_graph(tmp_path):
    bundle = opened(tmp_path)
    codec = build_codec(bundle.manifest.codec, bundle.directory)
    session = Session.open(bundle.graph_path(bundle.manifest.graphs[0]))
    encoded = codec.encode("good film").inputs
    inputs = {spec.name: encoded[spec.name].astype(NUMPY_DTYPES[spec.datatype]) for spec in bundle.manifest.inputs}
    assert inputs["input_ids"].tolist() == [[2, 4, 6, 3]]
    alone = session.run(inputs)["logits"]
    pads = {spec.name: spec.pad for spec in bundle.manifest.inputs}
    padded = {name: np.pad(array, ((0, 0), (0, 3)), constant_values=pads[name]) for name, array in inputs.items()}
    assert np.allclose(session.run(padded)["logits"], alone, atol=1e-6)
    session.close()


def test_graph_in_a_folder_of_its_own_is_found_and_the_tokenizer_beside_it(tmp_path):
    bundle = opened(tmp_path, graph="onnx/model.onnx")
    assert bundle.graph_path(bundle.manifest.graphs[0]) == bundle.directory / "onnx" / "model.onnx"
    assert (bundle.directory / bundle.manifest.codec.tokenizer).is_file()


def test_token_classifier_answers_per_token(tmp_path):
    config = {"architectures": ["BertForTokenClassification"]}
    bundle = opened(tmp_path, text_graph("token", len(WORDS), 2), config)
    (logits,) = bundle.manifest.outputs
    assert bundle.manifest.task == "token-classification"
    assert logits.axes == (RowAxis(), LengthAxis(max=32), FixedAxis(size=2))
    assert bundle.labels == ("negative", "positive")


def test_bare_encoder_embeds_and_has_no_labels(tmp_path):
    bundle = opened(tmp_path, text_graph("hidden", len(WORDS), 2), {"architectures": ["BertModel"]})
    (hidden,) = bundle.manifest.outputs
    assert (bundle.manifest.task, bundle.labels) == ("embedding", ())
    assert (hidden.axes, hidden.role) == ((RowAxis(), LengthAxis(max=32), FixedAxis(size=8)), "embedding")


def test_other_architectures_serve_tensors_with_a_codec(tmp_path):
    bundle = opened(tmp_path, config={"architectures": ["BertForNextSentencePrediction"]})
    assert (bundle.manifest.task, bundle.labels) == ("tensors", ())
    assert bundle.manifest.codec is not None


def test_token_axis_that_the_export_left_nameless_is_cropped_all_the_same(tmp_path):
    content = graph_bytes(
        [
            helper.make_node("Cast", ["input_ids"], ["flat"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["flat", "last"], ["last_hidden_state"]),
        ],
        {"input_ids": (TensorProto.INT64, (None, None))},
        {"last_hidden_state": (TensorProto.FLOAT, (None, None, 1))},
        {"last": np.array([2])},
    )
    bundle = opened(tmp_path, content, {"architectures": ["BertModel"]})
    assert bundle.manifest.outputs[0].axes == (RowAxis(), LengthAxis(max=32), FixedAxis(size=1))
    assert bundle.manifest.codec.mask is None


@pytest.mark.parametrize(
    ("config", "tokenizer_config", "expected"),
    [
        ({}, None, 32),
        ({}, {"model_max_length": 16}, 16),
        ({}, {"model_max_length": 64}, 32),
        ({}, {"model_max_length": 10**30}, 32),
        ({"max_position_embeddings": None}, None, 512),
        ({"max_position_embeddings": None}, {"model_max_length": 20}, 20),
        ({"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": 1}, None, 512),
        ({"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": 1}, {"model_max_length": 512}, 512),
    ],
)
def test_longest_text_is_the_strictest_of_what_the_files_say(tmp_path, config, tokenizer_config, expected):
    files = {} if tokenizer_config is None else {"tokenizer_config.json": json.dumps(tokenizer_config)}
    assert opened(tmp_path, config=config, files=files).manifest.codec.max_length == expected


def test_padding_of_the_ids_is_the_configurations(tmp_path):
    bundle = opened(tmp_path, config={"pad_token_id": 1})
    assert [spec.pad for spec in bundle.manifest.inputs] == [1, 0, 0]


def test_graph_that_takes_more_than_text_is_served_as_bare_tensors(tmp_path):
    content = graph_bytes(
        [helper.make_node("Identity", ["pixel_values"], ["y"])],
        {"pixel_values": (TensorProto.FLOAT, ("batch", 3))},
        {"y": (TensorProto.FLOAT, ("batch", 3))},
    )
    bundle = opened(tmp_path, content)
    assert (bundle.manifest.task, bundle.manifest.codec, bundle.labels) == ("tensors", None, ())
    assert bundle.manifest.inputs[0].datatype is Datatype.FP32


def test_graph_that_takes_int32_ids_is_served_as_bare_tensors(tmp_path):
    content = text_graph("hidden", len(WORDS), 2, element_type=TensorProto.INT32)
    assert opened(tmp_path, content).manifest.codec is None


@pytest.mark.parametrize(
    "id2label", [{}, {"0": "a", "2": "b"}, {"1": "a", "2": "b"}, {"0": 1}, ["a", "b"], "ab", {"x": "a"}]
)
def test_labels_that_do_not_name_each_index_are_refused(tmp_path, id2label):
    with pytest.raises(ArtifactCorrupt, match="id2label"):
        opened(tmp_path, config={"id2label": id2label})


def test_labels_of_another_number_than_the_classes_are_refused(tmp_path):
    with pytest.raises(ArtifactCorrupt, match="2 classes, but there are 3 labels"):
        opened(tmp_path, config={"id2label": {"0": "a", "1": "b", "2": "c"}})


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
@pytest.mark.parametrize("content", ["", "{", "[]", b"\xff"])
def test_file_that_is_not_a_json_object_is_refused(tmp_path, name, content):
    with pytest.raises(ArtifactCorrupt, match=r"not (JSON|a JSON object)"):
        opened(tmp_path, files={name: content})


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_file_that_links_out_of_the_store_is_refused(tmp_path, name):
    opened(tmp_path / "store")
    path = tmp_path / "store" / "film" / "1" / name
    path.rename(tmp_path / name)
    path.symlink_to(tmp_path / name)
    with pytest.raises(ArtifactCorrupt, match="out of the store"):
        open_bundle(tmp_path / "store", "film", 1, max_bytes=1_000_000)
