"""Bundles of a tiny model that writes, right or wrong on purpose: one number carried from step to step, and a source.

A step halves the number and adds its token; the scores are the number plus the sum of the source, times a wave over the
vocabulary.
"""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper

from server.codecs.codec import CodecLimits
from server.loading.loader import Loader
from server.manifest import (
    AttentionSpec,
    FixedAxis,
    GenerationSpec,
    GraphSpec,
    InputSpec,
    LengthAxis,
    OutputSpec,
    RowAxis,
    StateSpec,
    TextCodecSpec,
    TokenAxis,
)
from server.settings import BatchingSettings, GenerationSettings, RuntimeSettings
from server.tensors import Datatype
from tests.support.artifacts import OPSET, graph_bytes, write_signed
from tests.support.writing import write_words

VOCABULARY, END, START = 12, 1, 2
GOLDEN = "golden.npz"
ROW, LENGTH = RowAxis(), LengthAxis(max=16)
TOTAL = StateSpec(
    name="total", output="next_total", datatype=Datatype.FP32, axes=(ROW, FixedAxis(size=1)), kind="replace"
)
SOURCE = StateSpec(name="source", source="source", datatype=Datatype.FP32, axes=(ROW, LENGTH), kind="constant")
STATES = (TOTAL, SOURCE)
LOOK = OutputSpec(
    name="look",
    datatype=Datatype.FP32,
    axes=(ROW, FixedAxis(size=1), LengthAxis(name="new"), LENGTH),
    role="attention",
)
MAPS = AttentionSpec(
    name="look", mechanism="adding", outputs=("look",), query=TokenAxis(length="new"), key=TokenAxis(length="length")
)
LOGITS = OutputSpec(name="logits", datatype=Datatype.FP32, axes=(ROW, FixedAxis(size=VOCABULARY)), role="logits")
GENERATION = GenerationSpec(
    vocab_size=VOCABULARY, start=(START,), end=(END,), suppress=(0,), max_length=16, max_tokens=8
)
GRAPHS = {
    "encode.onnx": GraphSpec(file="encode.onnx", role="encode", opset=OPSET),
    "step.onnx": GraphSpec(file="step.onnx", role="step", opset=OPSET),
    "maps.onnx": GraphSpec(file="maps.onnx", role="step", opset=OPSET, maps=True),
    "columns.onnx": GraphSpec(file="columns.onnx", role="step", layout="columns", opset=OPSET),
    "encode-int8.onnx": GraphSpec(file="encode-int8.onnx", role="encode", precision="int8", opset=OPSET),
    "step-int8.onnx": GraphSpec(file="step-int8.onnx", role="step", precision="int8", opset=OPSET),
}
_I, _F, _B, _D = TensorProto.INT64, TensorProto.FLOAT, TensorProto.BOOL, TensorProto.DOUBLE
_WAVE = (10 * np.sin(np.arange(VOCABULARY) * 1.7))[None].astype(np.float32)


def encode_graph() -> bytes:
    """ids and mask [row, length] to the source, zero where it is masked."""
    node = helper.make_node
    nodes = [
        node("Cast", ["ids"], ["x"], to=_F),
        node("Cast", ["mask"], ["m"], to=_F),
        node("Mul", ["x", "m"], ["source"]),
    ]
    inputs = {"ids": (_I, ("rows", "length")), "mask": (_B, ("rows", "length"))}
    return graph_bytes(nodes, inputs, {"source": (_F, ("rows", "length"))})


def step_graph(*, maps: bool = False, more_inputs: Sequence[str] = (), off_by: float = 0.0, new: Any = "new") -> bytes:
    """The step; `more_inputs` are taken, and nothing comes of them."""
    node = helper.make_node
    nodes: list[NodeProto] = [
        node("Cast", ["tokens"], ["x"], to=_F),
        node("ReduceSum", ["x", "one"], ["added"], keepdims=1),
        node("Mul", ["total", "half"], ["halved"]),
        node("Add", ["halved", "added"], ["next_total"]),
        node("ReduceSum", ["source", "one"], ["whole"], keepdims=1),
        node("Add", ["next_total", "whole"], ["number"]),
        node("Add", ["number", "off"], ["moved"]),
        node("Sin", ["moved"], ["bent"]),
        node("MatMul", ["bent", "wave"], ["logits"]),
    ]
    inputs: dict[str, Any] = {
        "tokens": (_I, ("rows", new)),
        "total": (_F, ("rows", 1)),
        "source": (_F, ("rows", "length")),
    }
    outputs: dict[str, Any] = {"next_total": (_F, ("rows", 1)), "logits": (_F, ("rows", VOCABULARY))}
    if maps:
        nodes += [node("Div", ["source", "whole"], ["shares"]), node("Unsqueeze", ["shares", "places"], ["look"])]
        outputs["look"] = (_F, ("rows", 1, 1, "length"))
    for name in more_inputs:
        nodes.append(node("Identity", [name], [f"{name}_again"]))
        inputs[name] = (_F, ("rows", 1))
        outputs[f"{name}_again"] = (_F, ("rows", 1))
    weights = {
        "one": np.array([1]),
        "places": np.array([1, 2]),
        "half": np.array([0.5], np.float32),
        "off": np.array([off_by], np.float32),
        "wave": _WAVE,
    }
    return graph_bytes(nodes, inputs, outputs, weights)


FILES = {"encode.onnx": encode_graph(), "step.onnx": step_graph()}


def scores_of(tokens: Sequence[int], ids: Sequence[int]) -> NDArray[np.float32]:
    """[tokens, vocabulary]: the scores after each token."""
    total, found = 0.0, []
    for token in tokens:
        total = total / 2 + token
        found.append(np.sin(total + sum(ids)) * _WAVE[0])
    return np.array(found, np.float32)


def golden(off_by: float = 0.0, **replaced: Any) -> bytes:
    """Two golden rows, with scores that are so much off; `replaced` arrays by name, dots written as `__`."""
    arrays: dict[str, Any] = {}
    for number, ids in enumerate(([3, 4, 5], [6, 7])):
        tokens = [START, 3 + number, 5]
        arrays[f"input.{number}.ids"] = np.array([ids])
        arrays[f"input.{number}.mask"] = np.ones((1, len(ids)), np.bool_)
        arrays[f"input.{number}.tokens"] = np.array([tokens])
        arrays[f"output.{number}.logits"] = scores_of(tokens, ids)[None] + np.float32(off_by)
    for name, array in replaced.items():
        arrays[name.replace("__", ".")] = array
    buffer = io.BytesIO()
    np.savez(buffer, **{name: array for name, array in arrays.items() if array is not None})
    return buffer.getvalue()


def publish_adder(
    store: Path, files: Mapping[str, bytes] | None = None, golden: bytes | None = None, **changes: Any
) -> Path:
    """Writes version 1 of `adder` with these graphs, named as in `GRAPHS`; `changes` are fields of the manifest."""
    graphs = dict(files or FILES)
    write_words(store / "words.json", VOCABULARY)
    extra = {"tokenizer.json": (store / "words.json").read_bytes()}
    if golden is not None:
        extra[GOLDEN], changes["golden"] = golden, GOLDEN
    maps = any(GRAPHS[name].maps for name in graphs)
    mask = InputSpec(name="mask", datatype=Datatype.BOOL, axes=(ROW, LENGTH), role="mask", pad=False, optional=True)
    fields: dict[str, Any] = {
        "task": "text-generation",
        "graphs": tuple(GRAPHS[name] for name in graphs),
        "inputs": (InputSpec(name="ids", datatype=Datatype.INT64, axes=(ROW, LENGTH)), mask),
        "outputs": (LOGITS, LOOK) if maps else (LOGITS,),
        "attention": (MAPS,) if maps else (),
        "states": STATES,
        "generation": GENERATION,
        "codec": TextCodecSpec(max_length=16, input_ids="ids", mask="mask"),
        **changes,
    }
    return write_signed(store, {**graphs, **extra}, "adder", **fields)


def loader_of(store: Path, cores: int = 1, generation: Mapping[str, Any] | None = None, **runtime: Any) -> Loader:
    """Loads from the store, by default without measuring anything."""
    given = dict(generation or {})
    most_bytes = given.pop("max_state_bytes", None)
    settings = GenerationSettings(**given)
    if most_bytes is not None:  # fewer than the setting allows: rows of this model are small
        settings = settings.model_copy(update={"max_state_bytes": most_bytes})
    return Loader(
        store=store,
        max_bundle_bytes=2**20,
        limits=CodecLimits(),
        batching=BatchingSettings(),
        generation=settings,
        runtime=RuntimeSettings(**{"calibration_s": 0, **runtime}),
        cores=cores,
    )
