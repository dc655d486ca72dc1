"""A store of small real graphs for the clients of other projects: an echo for every datatype, and a text classifier."""

import hashlib
import json
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from server.manifest import MANIFEST_FILE, FileDigest
from server.tensors import Datatype
from tests.support.fakes import LABELS, WORDS, text_model, write_tokenizer
from tests.support.graphs import IR_VERSION, OPSET, write_version

ELEMENT_TYPES = {
    Datatype.BOOL: TensorProto.BOOL,
    Datatype.UINT8: TensorProto.UINT8,
    Datatype.UINT16: TensorProto.UINT16,
    Datatype.UINT32: TensorProto.UINT32,
    Datatype.UINT64: TensorProto.UINT64,
    Datatype.INT8: TensorProto.INT8,
    Datatype.INT16: TensorProto.INT16,
    Datatype.INT32: TensorProto.INT32,
    Datatype.INT64: TensorProto.INT64,
    Datatype.FP16: TensorProto.FLOAT16,
    Datatype.BF16: TensorProto.BFLOAT16,
    Datatype.FP32: TensorProto.FLOAT,
    Datatype.FP64: TensorProto.DOUBLE,
    Datatype.BYTES: TensorProto.STRING,
}


def write_contract_store(store: Path) -> Path:
    """Writes `echo_<datatype>` (unsigned, y = x) and `areas` (signed; the logit of class c counts ids c modulo 3)."""
    for datatype, element in ELEMENT_TYPES.items():
        write_version(store, f"echo_{datatype.value.lower()}", 1, _echo_graph(element))
    _write_signed(store / "areas" / "1")
    return store


def _echo_graph(element: int) -> onnx.GraphProto:
    return helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "echo",
        [helper.make_tensor_value_info("x", element, ["rows", "width"])],
        [helper.make_tensor_value_info("y", element, ["rows", "width"])],
    )


def _write_signed(folder: Path) -> None:
    folder.mkdir(parents=True)
    write_tokenizer(folder / "tokenizer.json")
    (folder / "labels.json").write_text(json.dumps(LABELS))
    graph = helper.make_model(
        _classifier_graph(), opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
    )
    onnx.checker.check_model(graph, full_check=True)
    onnx.save(graph, folder / "model.onnx")
    files = {path.name: _digest(path) for path in folder.iterdir()}
    manifest = text_model().manifest
    manifest = manifest.model_copy(
        update={
            "files": files,
            "outputs": tuple(spec for spec in manifest.outputs if spec.name != "attention_1"),
            "attention": (manifest.attention[0].model_copy(update={"outputs": ("attention_0",)}),),
        }
    )
    (folder / MANIFEST_FILE).write_text(manifest.to_json())


def _digest(path: Path) -> FileDigest:
    content = path.read_bytes()
    return FileDigest(sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))


def _classifier_graph() -> onnx.GraphProto:
    """Counts ids by remainder; two heads that both look evenly at all tokens."""
    table = [1.0 if index % 3 == column else 0.0 for index in range(len(WORDS)) for column in range(3)]
    node = helper.make_node
    return helper.make_graph(
        [
            node("Cast", ["mask"], ["present"], to=TensorProto.FLOAT),
            node("Unsqueeze", ["present", "axis_2"], ["column"]),
            node("Gather", ["table", "input_ids"], ["one_hot"]),
            node("Mul", ["one_hot", "column"], ["counted"]),
            node("ReduceSum", ["counted", "axis_1"], ["logits"], keepdims=0),
            node("Cast", ["input_ids"], ["numbers"], to=TensorProto.FLOAT),
            node("Mul", ["numbers", "present"], ["hidden"]),
            node("ReduceSum", ["present", "axis_1"], ["tokens"], keepdims=1),
            node("Div", ["present", "tokens"], ["even"]),
            node("Unsqueeze", ["even", "axes_1_2"], ["keys"]),
            node("Unsqueeze", ["present", "axes_1_3"], ["queries"]),
            node("Mul", ["queries", "keys"], ["head"]),
            node("Concat", ["head", "head"], ["attention_0"], axis=1),
        ],
        "classifier",
        [
            helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["rows", "length"]),
            helper.make_tensor_value_info("mask", TensorProto.BOOL, ["rows", "length"]),
        ],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["rows", 3]),
            helper.make_tensor_value_info("hidden", TensorProto.FLOAT, ["rows", "length"]),
            helper.make_tensor_value_info("attention_0", TensorProto.FLOAT, ["rows", 2, "length", "length"]),
        ],
        [
            helper.make_tensor("table", TensorProto.FLOAT, [len(WORDS), 3], table),
            helper.make_tensor("axis_1", TensorProto.INT64, [1], [1]),
            helper.make_tensor("axis_2", TensorProto.INT64, [1], [2]),
            helper.make_tensor("axes_1_2", TensorProto.INT64, [2], [1, 2]),
            helper.make_tensor("axes_1_3", TensorProto.INT64, [2], [1, 3]),
        ],
    )
