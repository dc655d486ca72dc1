"""Bundles of one tiny text model in all layouts, right or wrong on purpose: `sum` [rows, 1] adds up a row's ids."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper

from server import packed
from server.codecs.codec import CodecLimits
from server.loading.loader import Loader
from server.manifest import FixedAxis, GraphSpec, InputSpec, LengthAxis, OutputSpec, RowAxis
from server.settings import BatchingSettings, GenerationSettings, RuntimeSettings
from server.tensors import Datatype
from tests.support.artifacts import OPSET, graph_bytes, write_signed

IDS = InputSpec(name="ids", datatype=Datatype.INT64, axes=(RowAxis(), LengthAxis(max=64)))
MASK = InputSpec(
    name="mask", datatype=Datatype.BOOL, axes=(RowAxis(), LengthAxis(max=64)), pad=False, role="mask", optional=True
)
SUM = OutputSpec(name="sum", datatype=Datatype.FP32, axes=(RowAxis(), FixedAxis(size=1)))
GOLDEN = "golden.npz"

_I, _F, _B = TensorProto.INT64, TensorProto.FLOAT, TensorProto.BOOL
_ONE = {"one": np.array([1], np.int64), "zero": np.array([0], np.int64)}


def rows_graph(*, mixes_rows: bool = False, nan: bool = False, off_by: float = 0.0) -> bytes:
    """The sum over the length; `mixes_rows` takes the mean over the batch off it, `nan` divides zero by zero."""
    node = helper.make_node
    nodes = [
        node("Cast", ["ids"], ["x"], to=_F),
        node("Cast", ["mask"], ["m"], to=_F),
        node("Mul", ["x", "m"], ["masked"]),
        node("ReduceSum", ["masked", "one"], ["total"], keepdims=1),
    ]
    return _graph([*nodes, *_ending("total", mixes_rows, nan)], {"ids": _I, "mask": _B}, "rows", off_by)


def block_diagonal_graph(*, mixes_rows: bool = False, off_by: float = 0.0) -> bytes:
    """The same by segments."""
    node = helper.make_node
    nodes = [
        node("Cast", ["ids"], ["x"], to=_F),
        node("Unsqueeze", ["x", "one"], ["column"]),
        node("Unsqueeze", [packed.ROWS, "one"], ["row"]),
        node("Unsqueeze", [packed.SEGMENTS, "zero"], ["segment"]),
        node("Equal", ["row", "segment"], ["own"]),
        node("Cast", ["own"], ["weights"], to=_F),
        node("MatMul", ["weights", "column"], ["total"]),
    ]
    names = {"ids": _I, packed.POSITIONS: _I, packed.SEGMENTS: _I, packed.ROWS: _I}
    return _graph([*nodes, *_ending("total", mixes_rows)], names, "block-diagonal", off_by)


def gathered_graph(*, mixes_rows: bool = False, off_by: float = 0.0) -> bytes:
    """The same by gathering."""
    node = helper.make_node
    nodes = [
        node("Cast", ["ids"], ["x"], to=_F),
        node("Gather", ["x", packed.GATHER], ["gathered"]),
        node("Cast", [packed.PRESENT], ["m"], to=_F),
        node("Mul", ["gathered", "m"], ["masked"]),
        node("ReduceSum", ["masked", "one"], ["total"], keepdims=1),
    ]
    names = {"ids": _I, packed.POSITIONS: _I, packed.GATHER: _I, packed.PRESENT: _B, packed.SCATTER: _I}
    return _graph([*nodes, *_ending("total", mixes_rows)], names, "gathered", off_by)


GRAPHS = {
    "model.onnx": GraphSpec(file="model.onnx", opset=OPSET),
    "block.onnx": GraphSpec(file="block.onnx", layout="block-diagonal", opset=OPSET),
    "gathered.onnx": GraphSpec(file="gathered.onnx", layout="gathered", opset=OPSET),
    "int8.onnx": GraphSpec(file="int8.onnx", precision="int8", opset=OPSET),
}


def publish_sums(store: Path, files: Mapping[str, bytes] | None = None, **changes: Any) -> Path:
    """Writes version 1 of `sums` with these graphs, by default one in rows; files are named as in `GRAPHS`."""
    graphs = dict(files or {"model.onnx": rows_graph()})
    extra = {GOLDEN: golden()} if "golden" in changes else {}
    fields: dict[str, Any] = {
        "graphs": tuple(GRAPHS[name] for name in graphs),
        "inputs": (IDS, MASK),
        "outputs": (SUM,),
        **changes,
    }
    return write_signed(store, {**graphs, **extra}, "sums", **fields)


def golden(answers: tuple[float, ...] = (6.0, 9.0)) -> bytes:
    """Two golden rows, [1, 2, 3] and [4, 5], with these sums."""
    arrays: dict[str, Any] = {}
    for number, (ids, answer) in enumerate(zip(([1, 2, 3], [4, 5]), answers, strict=True)):
        arrays[f"input.{number}.ids"] = np.array([ids])
        arrays[f"input.{number}.mask"] = np.ones((1, len(ids)), np.bool_)
        arrays[f"output.{number}.sum"] = np.array([[answer]], np.float32)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def loader_of(store: Path, cores: int = 1, batching: Mapping[str, Any] | None = None, **runtime: Any) -> Loader:
    """Loads from the store, by default without measuring anything."""
    return Loader(
        store=store,
        max_bundle_bytes=2**20,
        limits=CodecLimits(),
        batching=BatchingSettings(**(batching or {})),
        generation=GenerationSettings(),
        runtime=RuntimeSettings(**{"calibration_s": 0, **runtime}),
        cores=cores,
    )


def _ending(name: str, mixes_rows: bool = False, nan: bool = False) -> list[NodeProto]:
    node = helper.make_node
    if mixes_rows:
        return [
            node("ReduceMean", [name], ["mean"], axes=[0], keepdims=1),
            node("Sub", [name, "mean"], ["shifted"]),
            node("Add", ["shifted", "off"], ["sum"]),
        ]
    if nan:
        return [node("Sub", [name, name], ["nothing"]), node("Div", ["nothing", "nothing"], ["sum"])]
    return [node("Add", [name, "off"], ["sum"])]


def _graph(nodes: list[NodeProto], inputs: Mapping[str, int], layout: str, off_by: float) -> bytes:
    if layout == "rows":
        shapes = dict.fromkeys(inputs, ("rows", "length"))
    else:
        axes = {one.name: one.axes for one in packed.packed_inputs((IDS, MASK), layout)}  # type: ignore[arg-type]
        shapes = {name: axes[name] for name in inputs}
    return graph_bytes(
        nodes,
        {name: (kind, shapes[name]) for name, kind in inputs.items()},
        {"sum": (_F, ("rows", 1))},
        {**_ONE, "off": np.array([off_by], np.float32)},
    )
