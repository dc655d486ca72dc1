import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from server.errors import ArtifactCorrupt
from server.manifest import FixedAxis, FreeAxis, RowAxis
from server.store.bundle import open_bundle
from server.tensors import Datatype
from tests.support.artifacts import external_graph, graph_bytes, identity_graph, linear_graph, write_folder

MAX_BYTES = 1_000_000


def opened(store, max_bytes=MAX_BYTES):
    return open_bundle(store, "bare", 1, max_bytes=max_bytes)


def bare(store, content, **files):
    return write_folder(store / "bare" / "1", {"model.onnx": content, **files})


def test_bare_graph_opens_unverified_with_the_graphs_own_signature(tmp_path):
    directory = bare(tmp_path, linear_graph())
    bundle = opened(tmp_path)
    manifest = bundle.manifest
    assert (bundle.verified, bundle.labels, manifest.name, manifest.task) == (False, (), "bare", "tensors")
    assert [(spec.name, spec.datatype, spec.axes) for spec in (*manifest.inputs, *manifest.outputs)] == [
        ("x", Datatype.FP32, (RowAxis(), FixedAxis(size=4))),
        ("logits", Datatype.FP32, (RowAxis(), FixedAxis(size=3))),
    ]
    assert (manifest.batched, manifest.graphs[0].opset, manifest.files) == (True, 17, {})
    assert bundle.graph_path(manifest.graphs[0]) == (directory / "model.onnx").resolve()


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        (("batch", "length"), (RowAxis(), FreeAxis())),
        ((None, None), (RowAxis(), FreeAxis())),
        ((1, "length"), (FixedAxis(size=1), FreeAxis())),
        ((), ()),
    ],
)
def test_first_axis_counts_rows_where_it_is_not_fixed(tmp_path, shape, axes):
    bare(tmp_path, identity_graph(shape=shape))
    assert opened(tmp_path).manifest.inputs[0].axes == axes


@pytest.mark.parametrize("first", [("batch", "other"), ("batch", 1)])
def test_no_axis_counts_rows_where_first_axes_disagree(tmp_path, first):
    names = ("x", "y")
    content = graph_bytes(
        [helper.make_node("Identity", [name], [f"{name}2"]) for name in names],
        {name: (TensorProto.FLOAT, (axis, 2)) for name, axis in zip(names, first, strict=True)},
        {f"{name}2": (TensorProto.FLOAT, (axis, 2)) for name, axis in zip(names, first, strict=True)},
    )
    bare(tmp_path, content)
    manifest = opened(tmp_path).manifest
    assert not manifest.batched
    assert {axis.kind for spec in manifest.inputs for axis in spec.axes} <= {"free", "fixed"}


def test_folder_without_a_graph_is_refused(tmp_path):
    write_folder(tmp_path / "bare" / "1", {"notes.txt": b""})
    with pytest.raises(ArtifactCorrupt, match=r"neither manifest\.json nor model\.onnx"):
        opened(tmp_path)


def test_folder_larger_than_allowed_is_refused(tmp_path):
    bare(tmp_path, linear_graph(), **{"more/weights.bin": bytes(1000)})
    with pytest.raises(ArtifactCorrupt, match="more than the 1000 that are allowed"):
        opened(tmp_path, max_bytes=1000)


def test_external_data_beside_the_graph_is_taken(tmp_path):
    bare(tmp_path, external_graph("weights.bin", 4), **{"weights.bin": bytes(16)})
    assert opened(tmp_path).manifest.inputs[0].axes == (RowAxis(), FixedAxis(size=4))


@pytest.mark.parametrize("location", ["../weights.bin", "/etc/passwd", "sub/weights.bin"])
def test_external_data_elsewhere_is_refused(tmp_path, location):
    bare(tmp_path, external_graph(location, 4), **{"../weights.bin": bytes(16), "sub/weights.bin": bytes(16)})
    with pytest.raises(ArtifactCorrupt, match="no plain file name"):
        opened(tmp_path)


def test_missing_external_data_is_refused(tmp_path):
    bare(tmp_path, external_graph("weights.bin", 4))
    with pytest.raises(ArtifactCorrupt, match=r"weights\.bin is missing"):
        opened(tmp_path)


@pytest.mark.parametrize("name", ["model.onnx", "other.bin"])
def test_file_that_links_out_of_the_store_is_refused(tmp_path, name):
    directory = bare(tmp_path / "store", linear_graph(), **{"other.bin": b"x"})
    (directory / name).rename(tmp_path / name)
    (directory / name).symlink_to(tmp_path / name)
    with pytest.raises(ArtifactCorrupt, match="out of the store"):
        opened(tmp_path / "store")


@settings(max_examples=60, deadline=None)
@given(content=st.binary(max_size=300))
def test_random_bytes_as_a_bare_graph_are_refused(tmp_path_factory, content):
    store = tmp_path_factory.mktemp("store")
    bare(store, content)
    with pytest.raises(ArtifactCorrupt):
        opened(store)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damaged_graph_is_refused_or_opened_never_worse(tmp_path_factory, data):
    store = tmp_path_factory.mktemp("store")
    content = bytearray(linear_graph())
    for position in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=6)):
        content[position] = data.draw(st.integers(0, 255))
    bare(store, bytes(content))
    try:
        opened(store)
    except ArtifactCorrupt:
        return


@settings(max_examples=40, deadline=None)
@given(config=st.dictionaries(st.sampled_from(["id2label", "architectures", "pad_token_id", "max_position_embeddings"]),
                              st.none() | st.integers() | st.text() | st.lists(st.text())))  # fmt: skip
def test_any_export_configuration_is_refused_or_read_never_worse(tmp_path_factory, config):
    store = tmp_path_factory.mktemp("store")
    content = graph_bytes(
        [helper.make_node("Cast", ["input_ids"], ["logits"], to=TensorProto.FLOAT)],
        {"input_ids": (TensorProto.INT64, ("batch", "length"))},
        {"logits": (TensorProto.FLOAT, ("batch", "length"))},
    )
    config.setdefault("architectures", ["BertForSequenceClassification"])
    bare(store, content, **{"config.json": json.dumps(config), "tokenizer.json": "{}"})
    try:
        opened(store)
    except ArtifactCorrupt:
        return
