"""A network that writes token by token as graphs: one that reads the source, and up to three that make a step.

encode.onnx          the manifest's inputs -> what the states begin with
step.onnx            new tokens, lengths, states -> logits, states
step-columns.onnx    the same, quicker for many rows and slower for few, where the products are large enough to matter
step-maps.onnx       the same with attention weights, where they would cost those who ask for none
"""

from collections.abc import Iterator
from pathlib import Path

import onnx_ir
from torch import Tensor, nn

from models.export.cached_attention import DECOMPOSITIONS
from models.export.columns import turn_products
from models.export.example import example_inputs
from models.export.face import Face, check_graph, inputs_face
from models.export.trace import OPSET, write_graph
from models.export.weights import SharedWeights
from models.networks.stepwise import LENGTHS, NEW, POSITION, Stepwise
from models.tasks.task import Signature
from server.manifest import (
    FixedAxis,
    GenerationSpec,
    GraphSpec,
    InputSpec,
    LengthAxis,
    OutputSpec,
    RowAxis,
    StateSpec,
)
from server.tensors import Datatype

ENCODE_FILE, STEP_FILE, COLUMNS_FILE, MAPS_FILE = "encode.onnx", "step.onnx", "step-columns.onnx", "step-maps.onnx"
COLUMNS_FROM = 2_000_000
"""Parameters. Smaller networks spend a step on calling operators, whichever way their products are turned."""
KEYS = "keys"
"""The axis of self-attention weights that counts keys: as many as the longest row has, not as buffers have room for."""


def export_stepwise(
    network: Stepwise, signature: Signature, directory: Path, *, weights: SharedWeights | None = None
) -> Iterator[GraphSpec]:
    """Writes the graphs into `directory`, their large weights into `weights` where it is given.

    Every axis that the specifications leave open stays open. The network is left in evaluation mode.
    Raises GraphInvalid as `write_graph` does.
    """
    network.eval()
    if network.encodes:
        _export_encode(network, signature, directory / ENCODE_FILE, weights)
        yield GraphSpec(file=ENCODE_FILE, role="encode", opset=OPSET)
    plain_maps = bool(signature.attention) and not network.maps_cost
    _export_step(network, signature, directory / STEP_FILE, weights, maps=plain_maps)
    yield GraphSpec(file=STEP_FILE, role="step", maps=plain_maps, opset=OPSET)
    if sum(parameter.numel() for parameter in network.parameters()) >= COLUMNS_FROM:
        turn_products(directory / STEP_FILE, directory / COLUMNS_FILE, weights)
        check_graph(directory / COLUMNS_FILE, _face(step_inputs(signature), step_outputs(signature, maps=plain_maps)))
        yield GraphSpec(file=COLUMNS_FILE, role="step", layout="columns", maps=plain_maps, opset=OPSET)
    if signature.attention and network.maps_cost:
        _export_step(network, signature, directory / MAPS_FILE, weights, maps=True)
        yield GraphSpec(file=MAPS_FILE, role="step", maps=True, opset=OPSET)


def generation_of(signature: Signature) -> GenerationSpec:
    """How the model writes. Raises TypeError for one that answers at once."""
    if signature.generation is None:
        raise TypeError("the model does not write token by token")
    return signature.generation


def encode_outputs(states: tuple[StateSpec, ...]) -> tuple[OutputSpec, ...]:
    """What the encode graph returns: the beginnings of states, in their order."""
    return tuple(
        OutputSpec(name=state.source, datatype=state.datatype, axes=state.axes)
        for state in states
        if state.source is not None
    )


def step_inputs(signature: Signature) -> tuple[InputSpec, ...]:
    """What the step graph takes: new tokens, the lengths where states need them, the states."""
    generation = generation_of(signature)
    row = RowAxis()
    new = FixedAxis(size=1) if generation.max_new == 1 else LengthAxis(name=NEW, max=generation.max_new)
    lengths = (InputSpec(name=LENGTHS, datatype=Datatype.INT32, axes=(row,)),)
    return (
        InputSpec(name=generation.tokens, datatype=Datatype.INT64, axes=(row, new)),
        *(lengths if any(state.length_input for state in signature.states) else ()),
        *(InputSpec(name=state.name, datatype=state.datatype, axes=state.axes) for state in signature.states),
    )


def step_outputs(signature: Signature, *, maps: bool) -> tuple[OutputSpec, ...]:
    """What the step graph returns: logits, the states that are not constant, attention weights."""
    attention = [spec for spec in signature.outputs if spec.role == "attention"]
    return (
        *(spec for spec in signature.outputs if spec.role != "attention"),
        *(
            OutputSpec(name=state.output, datatype=state.datatype, axes=state.axes)
            for state in signature.states
            if state.output is not None
        ),
        *(attention if maps else ()),
    )


class _Encode(nn.Module):
    def __init__(self, network: Stepwise) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return self.network.start(*inputs)


class _Step(nn.Module):
    def __init__(self, network: Stepwise, maps: bool) -> None:
        super().__init__()
        self.network = network
        self.maps = maps

    def forward(self, tokens: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        lengths, states = (rest[0], rest[1:]) if self.network.takes_lengths else (None, rest)
        step = self.network.step(tokens, lengths, *states, maps=self.maps)
        return step.logits, *step.states, *step.attention


def _export_encode(network: Stepwise, signature: Signature, path: Path, weights: SharedWeights | None) -> None:
    example, dynamic = example_inputs(signature.inputs, signature.example_length)
    face = _face(signature.inputs, encode_outputs(signature.states))
    write_graph(_Encode(network), example, (dynamic,), face, path, weights)


def _export_step(
    network: Stepwise, signature: Signature, path: Path, weights: SharedWeights | None, *, maps: bool
) -> None:
    inputs, outputs = step_inputs(signature), step_outputs(signature, maps=maps)
    example, (tokens, *rest) = example_inputs(inputs)
    write_graph(
        _Step(network, maps),
        example,
        (tokens, tuple(rest)),
        _face(inputs, outputs),
        path,
        weights,
        decompositions=DECOMPOSITIONS,
        finish=lambda model: _count_keys(model, outputs),
    )


def _face(inputs: tuple[InputSpec, ...], outputs: tuple[OutputSpec, ...]) -> Face:
    return Face(inputs_face(inputs), tuple((spec.name, spec.datatype) for spec in outputs))


def _count_keys(model: onnx_ir.Model, outputs: tuple[OutputSpec, ...]) -> None:
    """Takes back that weights have as many keys as the buffers have positions: the node returns fewer."""
    over_written = {
        spec.name
        for spec in outputs
        if spec.role == "attention" and isinstance(spec.axes[-1], LengthAxis) and spec.axes[-1].name == POSITION
    }
    for value in model.graph.outputs:
        if value.name in over_written and value.shape is not None:
            value.shape = onnx_ir.Shape([*value.shape[:-1], KEYS])
