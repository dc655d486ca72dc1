import onnx
import onnx_ir
from onnx import TensorProto, helper

from models.export.strip import strip_origins

ORIGIN = "/home/somebody/model.py"


def tag(item):
    item.doc_string = ORIGIN
    item.metadata_props.add(key="stack_trace", value=ORIGIN)
    return item


def branch(name):
    output = tag(helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT, [1]))
    constant = helper.make_tensor(f"{name}_constant", TensorProto.FLOAT, [1], [1.0])
    node = tag(helper.make_node("Neg", [constant.name], [output.name]))
    return tag(helper.make_graph([node], name, [], [output], [constant]))


def test_nothing_of_where_it_was_made_stays_in_nodes_values_branches_or_the_model():
    node = helper.make_node("If", ["condition"], ["y"], then_branch=branch("then"), else_branch=branch("otherwise"))
    graph = helper.make_graph(
        [tag(node)],
        "graph",
        [tag(helper.make_tensor_value_info("condition", TensorProto.BOOL, []))],
        [tag(helper.make_tensor_value_info("y", TensorProto.FLOAT, [1]))],
    )
    proto = tag(helper.make_model(tag(graph)))
    model = onnx_ir.from_proto(proto)
    assert ORIGIN.encode() in onnx_ir.to_proto(model).SerializeToString()
    strip_origins(model)
    stripped = onnx_ir.to_proto(model)
    assert ORIGIN.encode() not in stripped.SerializeToString()
    assert b"stack_trace" not in stripped.SerializeToString()
    onnx.checker.check_model(stripped)
