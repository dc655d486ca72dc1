"""ONNX files and store folders made by hand, right or wrong on purpose, for tests of what is read from disk."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from server.manifest import (
    MANIFEST_FILE,
    Axis,
    FileDigest,
    FixedAxis,
    GraphSpec,
    InputSpec,
    LengthAxis,
    Manifest,
    OutputSpec,
    RowAxis,
    TextCodecSpec,
)
from server.tensors import Datatype

Shape = Sequence[int | str | None]
OPSET = 17


def graph_bytes(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, tuple[int, Shape]],
    outputs: Mapping[str, tuple[int, Shape]],
    weights: Mapping[str, NDArray[Any]] | None = None,
    opset: int = OPSET,
) -> bytes:
    """Serializes a graph; inputs and outputs are name -> (element type, shape)."""
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info(name, kind, list(shape)) for name, (kind, shape) in inputs.items()],
        [helper.make_tensor_value_info(name, kind, list(shape)) for name, (kind, shape) in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return bytes(model.SerializeToString())


def identity_graph(element_type: int = TensorProto.FLOAT, shape: Shape = ("batch", None)) -> bytes:
    """`y` is `x`."""
    node = helper.make_node("Identity", ["x"], ["y"])
    return graph_bytes([node], {"x": (element_type, shape)}, {"y": (element_type, shape)})


def linear_graph(width: int = 4, classes: int = 3, seed: int = 0) -> bytes:
    """`logits` [batch, classes] of `x` [batch, width]."""
    weights = np.random.default_rng(seed).normal(size=(width, classes)).astype(np.float32)
    return graph_bytes(
        [helper.make_node("MatMul", ["x", "w"], ["logits"])],
        {"x": (TensorProto.FLOAT, ("batch", width))},
        {"logits": (TensorProto.FLOAT, ("batch", classes))},
        {"w": weights},
    )


def external_graph(location: str, size: int) -> bytes:
    """`y` = `x` + a vector of `size` floats that lie at `location`, outside the file."""
    content = graph_bytes(
        [helper.make_node("Add", ["x", "w"], ["y"])],
        {"x": (TensorProto.FLOAT, ("batch", size))},
        {"y": (TensorProto.FLOAT, ("batch", size))},
        {"w": np.zeros(size, dtype=np.float32)},
    )
    model = onnx.load_from_string(content)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", str(4 * size))):
        tensor.external_data.add(key=key, value=value)
    return bytes(model.SerializeToString())


def text_graph(task: str, vocabulary: int, classes: int, element_type: int = TensorProto.INT64) -> bytes:
    """An encoder's face over random weights: embeddings of words and types, masked.

    `task` says what comes out: `hidden` the embeddings [batch, sequence, 8], `sequence` logits of their mean over the
    mask, `token` logits of each.
    """
    node = helper.make_node
    generator = np.random.default_rng(0)
    weights: dict[str, NDArray[Any]] = {
        "words": generator.normal(size=(vocabulary, 8)).astype(np.float32),
        "types": generator.normal(size=(2, 8)).astype(np.float32),
        "last": np.array([2], dtype=np.int64),
    }
    nodes = [
        node("Gather", ["words", "input_ids"], ["word"]),
        node("Gather", ["types", "token_type_ids"], ["type"]),
        node("Add", ["word", "type"], ["sum_of_both"]),
        node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        node("Unsqueeze", ["mask", "last"], ["mask3"]),
        node("Mul", ["sum_of_both", "mask3"], ["last_hidden_state"]),
    ]
    output: tuple[str, Shape] = ("last_hidden_state", ("batch", "sequence", 8))
    if task != "hidden":
        weights["classes"] = generator.normal(size=(8, classes)).astype(np.float32)
    if task == "sequence":
        weights["middle"] = np.array([1], dtype=np.int64)
        nodes += [
            node("ReduceSum", ["last_hidden_state", "middle"], ["total"], keepdims=0),
            node("ReduceSum", ["mask3", "middle"], ["count"], keepdims=0),
            node("Div", ["total", "count"], ["mean"]),
            node("MatMul", ["mean", "classes"], ["logits"]),
        ]
        output = ("logits", ("batch", classes))
    elif task == "token":
        nodes.append(node("MatMul", ["last_hidden_state", "classes"], ["logits"]))
        output = ("logits", ("batch", "sequence", classes))
    inputs = dict.fromkeys(("input_ids", "attention_mask", "token_type_ids"), (element_type, ("batch", "sequence")))
    return graph_bytes(nodes, inputs, {output[0]: (TensorProto.FLOAT, output[1])}, weights)


def write_folder(directory: Path, files: Mapping[str, bytes | str]) -> Path:
    """Writes files, by relative path, and the folders that they need."""
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return directory


def signed_manifest(files: Mapping[str, bytes], name: str = "linear", **changes: Any) -> Manifest:
    """The manifest of `linear_graph`, listing `files`; `changes` replace its fields."""
    width: tuple[Axis, ...] = (RowAxis(), FixedAxis(size=4))
    fields: dict[str, Any] = {
        "name": name,
        "task": "tensors",
        "graphs": (GraphSpec(file="model.onnx", opset=OPSET),),
        "inputs": (InputSpec(name="x", datatype=Datatype.FP32, axes=width),),
        "outputs": (OutputSpec(name="logits", datatype=Datatype.FP32, axes=(RowAxis(), FixedAxis(size=3))),),
        "files": {
            file: FileDigest(sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))
            for file, content in files.items()
        },
    }
    return Manifest(**(fields | changes))


def write_signed(
    store: Path, files: Mapping[str, bytes] | None = None, name: str = "linear", version: int = 1, **changes: Any
) -> Path:
    """Writes a bundle whose digests are right: `model.onnx` (a linear graph by default) and further `files`."""
    content = {"model.onnx": linear_graph(), **(files or {})}
    manifest = signed_manifest(content, name, **changes)
    return write_folder(store / name / str(version), {**content, MANIFEST_FILE: manifest.to_json()})


TEXT_SIGNATURE: dict[str, Any] = {
    "inputs": tuple(
        InputSpec(name=name, datatype=Datatype.INT64, axes=(RowAxis(), LengthAxis())) for name in ("input_ids", "mask")
    ),
    "codec": TextCodecSpec(max_length=16),
}
"""Changes that give a manifest a text codec."""
