import onnx
import pytest
from onnx import helper

from models.export.face import check_graph, packed_face, rows_face
from models.export.failure import GraphInvalid
from models.export.graph import GRAPH_FILE
from models.export.trace import OPSET
from models.tasks.task import Signature
from server import packed
from server.manifest import FixedAxis, InputSpec, LengthAxis, OutputSpec, RowAxis
from server.tensors import Datatype

ROW, LENGTH, WIDTH = RowAxis(), LengthAxis(), FixedAxis(size=4)


def model_with(outputs, nodes, rows="rows"):
    values = helper.make_tensor_value_info("values", onnx.TensorProto.FLOAT, [rows, 4])
    graph = helper.make_graph(nodes, "graph", [values], outputs)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)


def simple_face(output):
    return rows_face(
        Signature(
            inputs=(InputSpec(name="values", datatype=Datatype.FP32, axes=(ROW, WIDTH)),),
            outputs=(OutputSpec(name=output, datatype=Datatype.FP32, axes=(ROW, WIDTH)),),
        )
    )


def test_a_graph_with_two_values_of_one_name_is_refused(tmp_path):
    answer = helper.make_tensor_value_info("answer", onnx.TensorProto.FLOAT, ["rows", 4])
    doubled = [helper.make_node("Neg", ["values"], ["answer"]), helper.make_node("Abs", ["values"], ["answer"])]
    path = tmp_path / GRAPH_FILE
    path.write_bytes(model_with([answer], doubled).SerializeToString())
    with pytest.raises(GraphInvalid, match="not a valid ONNX model"):
        check_graph(path, simple_face("answer"))


def test_a_graph_with_other_outputs_than_its_signature_is_refused(tmp_path):
    answer = helper.make_tensor_value_info("answer", onnx.TensorProto.FLOAT, ["rows", 4])
    path = tmp_path / GRAPH_FILE
    path.write_bytes(model_with([answer], [helper.make_node("Neg", ["values"], ["answer"])]).SerializeToString())
    check_graph(path, simple_face("answer"))
    with pytest.raises(GraphInvalid, match="outputs are answer FP32, but the signature says logits FP32"):
        check_graph(path, simple_face("logits"))


def test_a_graph_that_takes_one_size_of_a_varying_axis_is_refused(tmp_path):
    answer = helper.make_tensor_value_info("answer", onnx.TensorProto.FLOAT, [2, 4])
    path = tmp_path / GRAPH_FILE
    path.write_bytes(model_with([answer], [helper.make_node("Neg", ["values"], ["answer"])], 2).SerializeToString())
    with pytest.raises(GraphInvalid, match=r"axis 0 of the graph's input values is always 2, but .* a row axis"):
        check_graph(path, simple_face("answer"))


def test_packed_face_has_the_data_inputs_first_and_no_mask_and_no_maps():
    signature = Signature(
        inputs=(
            InputSpec(name="mask", datatype=Datatype.BOOL, axes=(ROW, LENGTH), role="mask"),
            InputSpec(name="ids", datatype=Datatype.INT64, axes=(ROW, LENGTH)),
        ),
        outputs=(
            OutputSpec(name="maps", datatype=Datatype.FP32, axes=(ROW, WIDTH, LENGTH, LENGTH), role="attention"),
            OutputSpec(name="logits", datatype=Datatype.FP32, axes=(ROW, WIDTH)),
        ),
    )
    face = packed_face(signature, "gathered")
    assert [one.name for one in face.inputs] == [
        "ids",
        packed.POSITIONS,
        packed.GATHER,
        packed.PRESENT,
        packed.SCATTER,
    ]
    assert face.inputs[2].varying == {0: "rows", 1: "longest"}
    assert face.outputs == (("logits", Datatype.FP32),)
