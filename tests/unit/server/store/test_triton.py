import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from server.errors import ArtifactCorrupt
from server.manifest import FixedAxis, FreeAxis, RowAxis
from server.store import triton
from server.store.bundle import open_bundle
from server.tensors import Datatype
from server.wire.model_config_pb2 import DataType
from tests.support.artifacts import graph_bytes, identity_graph, linear_graph, write_folder

CONFIG = """
# A repository as Triton's users write it.
name: "scores"
platform: "onnxruntime_onnx"
max_batch_size: 8
input [ { name: "x" data_type: TYPE_FP32 dims: [ 4 ] } ]
output [ { name: "logits" data_type: TYPE_FP32 dims: [ 3 ] label_filename: "labels.txt" } ]
instance_group [ { count: 2 kind: KIND_CPU } ]
dynamic_batching { max_queue_delay_microseconds: 100 }
parameters { key: "intra_op_thread_count" value { string_value: "1" } }
version_policy { latest { num_versions: 2 } }
"""
INPUT = 'input { name: "x" data_type: TYPE_FP32 dims: 4 }'
OUTPUT = 'output { name: "logits" data_type: TYPE_FP32 dims: 3 }'


def opened(store, config, content=None, files=None, graph="model.onnx"):
    write_folder(store / "scores", {"config.pbtxt": config, f"1/{graph}": content or linear_graph(), **(files or {})})
    return open_bundle(store, "scores", 1, max_bytes=1_000_000)


def axes(specs):
    return {spec.name: spec.axes for spec in specs}


def test_repository_opens_unverified_as_its_configuration_says(tmp_path):
    bundle = opened(tmp_path, CONFIG, files={"labels.txt": "no\nperhaps\nyes\n"})
    manifest = bundle.manifest
    assert (bundle.verified, bundle.labels, manifest.task) == (False, ("no", "perhaps", "yes"), "tensors")
    assert axes(manifest.inputs) == {"x": (RowAxis(), FixedAxis(size=4))}
    assert axes(manifest.outputs) == {"logits": (RowAxis(), FixedAxis(size=3))}
    assert (manifest.batched, manifest.batching.max_rows) == (True, 8)


def test_without_max_batch_size_no_axis_counts_rows(tmp_path):
    config = """
    backend: "onnxruntime"
    input { name: "x" data_type: TYPE_FP32 dims: [ -1, 4 ] }
    output { name: "logits" data_type: TYPE_FP32 dims: [ -1, 3 ] }
    """
    manifest = opened(tmp_path, config).manifest
    assert axes(manifest.inputs) == {"x": (FreeAxis(), FixedAxis(size=4))}
    assert (manifest.batched, manifest.batching.max_rows) == (False, None)


@pytest.mark.parametrize(
    ("config", "max_rows"), [("", None), ("max_batch_size: 2", 2), ('backend: "onnxruntime"', None)]
)
def test_what_the_configuration_leaves_out_is_the_graphs(tmp_path, config, max_rows):
    manifest = opened(tmp_path, config).manifest
    assert axes(manifest.inputs) == {"x": (RowAxis(), FixedAxis(size=4))}
    assert axes(manifest.outputs) == {"logits": (RowAxis(), FixedAxis(size=3))}
    assert manifest.batching.max_rows == max_rows


def test_dimension_that_the_configuration_fixes_is_fixed(tmp_path):
    config = """
    max_batch_size: 4
    input { name: "x" data_type: TYPE_FP32 dims: 7 }
    output { name: "y" data_type: TYPE_FP32 dims: -1 }
    """
    manifest = opened(tmp_path, config, identity_graph()).manifest
    assert axes(manifest.inputs) == {"x": (RowAxis(), FixedAxis(size=7))}
    assert axes(manifest.outputs) == {"y": (RowAxis(), FreeAxis())}


def test_output_that_the_configuration_leaves_out_is_not_served(tmp_path):
    content = graph_bytes(
        [helper.make_node("Identity", ["x"], ["y"]), helper.make_node("Neg", ["x"], ["z"])],
        {"x": (TensorProto.FLOAT, ("n", 4))},
        {"y": (TensorProto.FLOAT, ("n", 4)), "z": (TensorProto.FLOAT, ("n", 4))},
    )
    config = f'max_batch_size: 4 {INPUT} output {{ name: "z" data_type: TYPE_FP32 dims: 4 }}'
    assert [spec.name for spec in opened(tmp_path, config, content).manifest.outputs] == ["z"]


def test_graph_of_another_file_name_is_found(tmp_path):
    bundle = opened(tmp_path, 'default_model_filename: "net.onnx"', graph="net.onnx")
    assert bundle.graph_path(bundle.manifest.graphs[0]).name == "net.onnx"


def test_every_datatype_has_its_triton_name():
    assert set(triton._DATATYPES) - {"TYPE_BYTES"} == set(DataType.keys()) - {"TYPE_INVALID"}
    assert set(triton._DATATYPES.values()) == set(Datatype)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ('name: "other"', "is of model other, but its folder is scores"),
        ('platform: "tensorrt_plan"', "tensorrt_plan is not served; only onnxruntime_onnx is"),
        ('backend: "python"', "python is not served"),
        ('platform: "onnxruntime_onnx" backend: "pytorch"', "pytorch is not served"),
        ("sequence_batching { }", "sequence_batching is not supported"),
        ("ensemble_scheduling { }", "ensemble_scheduling is not supported"),
        ("batch_input { kind: BATCH_ELEMENT_COUNT }", "batch_input is not supported"),
        ("model_transaction_policy { decoupled: true }", "decoupled"),
        ("max_batch_size: -1", "negative"),
        ('default_model_filename: "../model.onnx"', "not a plain file name"),
        ('output { name: "logits" label_filename: "../secret" }', "not a plain file name"),
        (f'max_batch_size: 1 {INPUT} {OUTPUT[:-1]} label_filename: "a\\000b" }}', "is missing or cannot be read"),
        ('output { label_filename: "a.txt" } output { label_filename: "b.txt" }', "different labels"),
        (f'{INPUT} input {{ name: "y" data_type: TYPE_FP32 dims: 4 }}', "has dims"),
        ('max_batch_size: 1 input { name: "y" data_type: TYPE_FP32 dims: 4 }', "leaves out inputs of the graph: x"),
        (f'max_batch_size: 1 {INPUT} output {{ name: "z" data_type: TYPE_FP32 dims: 3 }}', "names output 'z'"),
        ('max_batch_size: 1 input { name: "x" data_type: TYPE_INT64 dims: 4 }', "is TYPE_INT64, but FP32 in the graph"),
        ('max_batch_size: 1 input { name: "x" dims: 4 }', "is TYPE_INVALID, but FP32"),
        (
            'max_batch_size: 1 input { name: "x" data_type: TYPE_FP32 dims: 5 }',
            r"has dims \[5\], but the graph has \[4\]",
        ),
        ('max_batch_size: 1 input { name: "x" data_type: TYPE_FP32 dims: -1 }', r"has dims \[-1\]"),
        ('max_batch_size: 1 input { name: "x" data_type: TYPE_FP32 dims: [1, 4] }', r"has dims \[1, 4\]"),
        ('input { name: "x" data_type: TYPE_FP32 dims: [-2, 4] }', r"has dims \[-2, 4\]"),
        ('max_batch_size: 1 input { name: "x" data_type: TYPE_FP32 dims: 4 reshape { shape: 4 } }', "reshape is not"),
        ('max_batch_size: 1 input { name: "x" data_type: TYPE_FP32 dims: 4 optional: true }', "optional is not"),
        ('max_batch_size: 1 input { name: "x" data_type: TYPE_FP32 dims: 4 allow_ragged_batch: true }', "ragged"),
        (f"max_batch_size: 1 {INPUT} {INPUT}", "input named twice"),
        ("name: ", "at line 1"),
        ("\n\nnonsense: 3", "at line 3"),
        ("max_batch_size: 99999999999", "does not read"),
        ("input [", "does not read"),
    ],
)
def test_configuration_that_cannot_be_served_is_refused_with_the_reason(tmp_path, config, reason):
    with pytest.raises(ArtifactCorrupt, match=reason):
        opened(tmp_path, config)


def test_max_batch_size_of_a_graph_without_a_batch_axis_is_refused(tmp_path):
    with pytest.raises(ArtifactCorrupt, match="input x has no batch axis"):
        opened(tmp_path, "max_batch_size: 2", identity_graph(shape=(1, 4)))


def test_missing_label_file_is_refused(tmp_path):
    with pytest.raises(ArtifactCorrupt, match=r"labels\.txt is missing"):
        opened(tmp_path, CONFIG)


def test_missing_graph_is_refused(tmp_path):
    with pytest.raises(ArtifactCorrupt, match=r"model\.onnx is missing"):
        opened(tmp_path, "", graph="other.onnx")


def test_configuration_that_is_not_text_is_refused(tmp_path):
    with pytest.raises(ArtifactCorrupt, match="UTF-8"):
        opened(tmp_path, b"\xff\xfe")


@pytest.mark.parametrize("name", ["config.pbtxt", "labels.txt"])
def test_file_that_links_out_of_the_store_is_refused(tmp_path, name):
    files = {"config.pbtxt": CONFIG, "labels.txt": "a\nb\nc", "1/model.onnx": linear_graph()}
    write_folder(tmp_path / "store" / "scores", files)
    (tmp_path / "store" / "scores" / name).rename(tmp_path / name)
    (tmp_path / "store" / "scores" / name).symlink_to(tmp_path / name)
    with pytest.raises(ArtifactCorrupt, match="out of the store"):
        open_bundle(tmp_path / "store", "scores", 1, max_bytes=1_000_000)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damaged_configuration_is_refused_or_read_never_worse(tmp_path_factory, data):
    config = bytearray(CONFIG.encode())
    for position in data.draw(st.lists(st.integers(0, len(config) - 1), min_size=1, max_size=4)):
        config[position] = data.draw(st.integers(0, 255))
    try:
        opened(tmp_path_factory.mktemp("store"), bytes(config), files={"labels.txt": "a\nb\nc"})
    except ArtifactCorrupt:
        return
