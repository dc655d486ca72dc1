"""Small ONNX graphs written by hand, for tests that need a model of a certain behaviour rather than a trained one."""

from pathlib import Path

import onnx
from onnx import TensorProto, helper

OPSET = 20
IR_VERSION = 10


def write_version(store: Path, model: str, version: int, graph: onnx.GraphProto) -> Path:
    """Puts a graph into the store as an unsigned version: nothing but `model.onnx`."""
    folder = store / model / str(version)
    folder.mkdir(parents=True)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(proto, full_check=True)
    onnx.save(proto, folder / "model.onnx")
    return folder


def doubling_graph(factor: float = 2.0) -> onnx.GraphProto:
    """y = factor * x, FP32 [rows, any]."""
    return helper.make_graph(
        [helper.make_node("Mul", ["x", "factor"], ["y"])],
        "doubling",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", "width"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", "width"])],
        [helper.make_tensor("factor", TensorProto.FLOAT, [], [factor])],
    )


def counting_graph() -> onnx.GraphProto:
    """Counts up to the largest of `steps` (INT64 [rows, 1]) one by one, so that the caller decides how long it runs."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["condition"], ["condition_out"]),
            helper.make_node("Add", ["count", "one"], ["count_out"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("iteration", TensorProto.INT64, []),
            helper.make_tensor_value_info("condition", TensorProto.BOOL, []),
            helper.make_tensor_value_info("count", TensorProto.INT64, []),
        ],
        [
            helper.make_tensor_value_info("condition_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("count_out", TensorProto.INT64, []),
        ],
    )
    return helper.make_graph(
        [
            helper.make_node("ReduceMax", ["steps"], ["most"], keepdims=0),
            helper.make_node("Loop", ["most", "true", "zero"], ["counted"], body=body),
            helper.make_node("Min", ["steps", "counted"], ["counts"]),
        ],
        "counting",
        [helper.make_tensor_value_info("steps", TensorProto.INT64, ["rows", 1])],
        [helper.make_tensor_value_info("counts", TensorProto.INT64, ["rows", 1])],
        [
            helper.make_tensor("true", TensorProto.BOOL, [], [True]),
            helper.make_tensor("zero", TensorProto.INT64, [], [0]),
            helper.make_tensor("one", TensorProto.INT64, [], [1]),
        ],
    )
