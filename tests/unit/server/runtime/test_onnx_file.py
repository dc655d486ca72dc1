import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from server.errors import ArtifactCorrupt
from server.runtime.onnx_file import SKELETON, parse_onnx, read_onnx
from tests.support.artifacts import external_graph, graph_bytes, identity_graph, linear_graph


@pytest.mark.parametrize("message", SKELETON)
def test_skeleton_has_the_field_numbers_and_kinds_of_onnx(message):
    real = getattr(onnx, message).DESCRIPTOR
    for name, number, kind, repeated in SKELETON[message]:
        field = real.fields_by_name[name]
        assert field.number == number
        assert field.is_repeated == repeated
        if kind.isupper():
            # Text is read as bytes so that a bad encoding is no parse error; an enum is read as its number.
            same = {"BYTES": {field.TYPE_STRING}, "INT64": {field.TYPE_INT64}, "INT32": {field.TYPE_ENUM}}[kind]
            assert field.type in same
        else:
            assert field.message_type.name == kind


def test_every_message_that_can_hold_a_tensor_is_in_the_skeleton():
    """Walks onnx's own messages, so that a new place for tensors is noticed."""
    pending, seen = [onnx.ModelProto.DESCRIPTOR], set()
    holding = {"TensorProto"}
    edges = []
    while pending:
        message = pending.pop()
        if message.name in seen:
            continue
        seen.add(message.name)
        for field in message.fields:
            if field.message_type is not None:
                edges.append((message.name, field.name, field.message_type.name))
                pending.append(field.message_type)
    while grown := {outer for outer, _, inner in edges if inner in holding} - holding:
        holding |= grown
    expected = {(outer, name) for outer, name, inner in edges if inner in holding}
    known = {(message, field[0]) for message, fields in SKELETON.items() for field in fields}
    assert expected <= known


def test_opset_is_the_standard_domains():
    assert parse_onnx(identity_graph()).opset == 17


def test_external_location_of_an_initializer_is_found():
    assert parse_onnx(external_graph("weights.bin", 4)).external_files == {"weights.bin"}


def test_graph_with_its_weights_inside_has_no_external_files():
    assert parse_onnx(linear_graph()).external_files == frozenset()


def _external(location):
    tensor = numpy_helper.from_array(np.zeros(2, dtype=np.float32), "t")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return tensor


def test_external_data_hides_in_no_corner_of_the_file():
    model = onnx.load_from_string(identity_graph())
    model.graph.node.append(helper.make_node("Constant", [], ["c"], value=_external("attribute")))
    inner = helper.make_graph([], "inner", [], [], [_external("subgraph")])
    model.graph.node.append(helper.make_node("If", ["k"], ["r"], then_branch=inner, else_branch=inner))
    sparse = onnx.SparseTensorProto(values=_external("sparse values"), indices=_external("sparse indices"))
    model.graph.sparse_initializer.append(sparse)
    constant = helper.make_node("Constant", [], ["c"], value=_external("function"))
    model.functions.append(helper.make_function("local", "f", [], ["c"], [constant], []))
    model.training_info.add().initialization.initializer.append(_external("training"))
    found = parse_onnx(model.SerializeToString()).external_files
    assert found == {
        "attribute",
        "subgraph",
        "sparse values",
        "sparse indices",
        "function",
        "training",
    }


def test_external_data_without_the_location_mark_is_found_too():
    model = onnx.load_from_string(external_graph("weights.bin", 4))
    model.graph.initializer[0].data_location = TensorProto.DEFAULT
    assert parse_onnx(model.SerializeToString()).external_files == {"weights.bin"}


@pytest.mark.parametrize("locations", [[], ["a", "b"], [""]])
def test_external_data_without_exactly_one_location_is_refused(locations):
    model = onnx.load_from_string(external_graph("weights.bin", 4))
    tensor = model.graph.initializer[0]
    del tensor.external_data[:]
    tensor.data_location = TensorProto.EXTERNAL
    for location in locations:
        tensor.external_data.add(key="location", value=location)
    with pytest.raises(ArtifactCorrupt, match="location"):
        parse_onnx(model.SerializeToString())


def test_location_that_is_not_utf8_is_refused():
    with pytest.raises(ArtifactCorrupt, match="UTF-8"):
        parse_onnx(external_graph("weights.bin", 4).replace(b"weights.bin", b"weights\xff\xff\xff\xff"))


@pytest.mark.parametrize("content", [b"", b"\x00", b"not a model", b"\xff" * 64])
def test_bytes_that_are_no_model_are_refused(content):
    with pytest.raises(ArtifactCorrupt):
        parse_onnx(content)


def test_model_without_a_standard_operator_set_is_refused():
    model = onnx.load_from_string(graph_bytes([], {}, {}))
    del model.opset_import[:]
    with pytest.raises(ArtifactCorrupt, match="operator set"):
        parse_onnx(model.SerializeToString())


@given(st.binary(max_size=512))
def test_random_bytes_are_refused_or_read_never_worse(content):
    try:
        parse_onnx(content)
    except ArtifactCorrupt:
        return


@given(st.integers(min_value=0, max_value=len(linear_graph()) - 1))
def test_truncated_model_is_refused_or_read_never_worse(length):
    try:
        parse_onnx(linear_graph()[:length])
    except ArtifactCorrupt:
        return


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(ArtifactCorrupt, match=r"model\.onnx cannot be read"):
        read_onnx(tmp_path / "model.onnx")
