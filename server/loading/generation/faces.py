"""Holds the graphs of a generative bundle against its manifest, so that a step cannot fail for want of a name."""

from collections.abc import Sequence

from server.errors import ArtifactCorrupt
from server.manifest import Axis, GenerationSpec, GraphSpec, Manifest, StateSpec
from server.runtime.session import GraphTensor, Session
from server.tensors import Datatype


def check_encode(manifest: Manifest, graph: GraphSpec, session: Session) -> None:
    """The encode graph takes the manifest's inputs, and gives every state's source.

    Raises ArtifactCorrupt, naming what differs.
    """
    inputs = {tensor.name: tensor for tensor in session.inputs}
    outputs = {tensor.name: tensor for tensor in session.outputs}
    for spec in manifest.inputs:
        _check(graph, "input", spec.name, inputs, spec.datatype, spec.axes)
    _none_unfed(graph, inputs, {spec.name for spec in manifest.inputs})
    for state in manifest.states:
        if state.source is not None:
            _check(graph, "output", state.source, outputs, state.datatype, state.axes)


def check_step(manifest: Manifest, spec: GenerationSpec, graph: GraphSpec, session: Session) -> None:
    """The step graph takes tokens, lengths and states, and gives logits, states and the attention that it promises.

    Raises ArtifactCorrupt, naming what differs.
    """
    inputs = {tensor.name: tensor for tensor in session.inputs}
    outputs = {tensor.name: tensor for tensor in session.outputs}
    _check(graph, "input", spec.tokens, inputs, Datatype.INT64, (None, None))
    _check(graph, "output", spec.logits, outputs, Datatype.FP32, (None, None))
    fed = {spec.tokens}
    for state in manifest.states:
        _check(graph, "input", state.name, inputs, state.datatype, state.axes)
        fed.add(state.name)
        if state.length_input is not None:
            _check(graph, "input", state.length_input, inputs, Datatype.INT32, (None,))
            fed.add(state.length_input)
        if state.output is not None:
            _check(graph, "output", state.output, outputs, state.datatype, state.axes)
    _none_unfed(graph, inputs, fed)
    _check_vocabulary(graph, spec, outputs[spec.logits])
    _check_new(graph, spec, inputs[spec.tokens])
    if graph.maps:
        for output in manifest.outputs:
            if output.role == "attention":
                _check(graph, "output", output.name, outputs, output.datatype, output.axes)


def check_states(states: Sequence[StateSpec]) -> None:
    """Appended states either all share buffers or none does: a step runs in one way. Raises ArtifactCorrupt."""
    shared = {state.aliasable for state in states if state.kind == "append"}
    if len(shared) > 1:
        raise ArtifactCorrupt("some appended states are aliasable and some are not; a step needs them all alike")


def _check(
    graph: GraphSpec,
    kind: str,
    name: str,
    tensors: dict[str, GraphTensor],
    datatype: Datatype,
    axes: Sequence[Axis | None],
) -> None:
    tensor = tensors.get(name)
    if tensor is None:
        raise ArtifactCorrupt(
            f"{graph.file} has no {kind} {name!r}, which the manifest names; it has {_listed(tensors)}"
        )
    if tensor.datatype is not datatype:
        raise ArtifactCorrupt(f"{graph.file}: {kind} {name!r} is {tensor.datatype}, in the manifest {datatype}")
    if tensor.shape and len(tensor.shape) != len(axes):
        raise ArtifactCorrupt(
            f"{graph.file}: {kind} {name!r} has rank {len(tensor.shape)}, in the manifest {len(axes)}"
        )
    for position, (size, axis) in enumerate(zip(tensor.shape, axes, strict=False)):
        if isinstance(size, int) and axis is not None and axis.kind == "fixed" and axis.size != size:
            raise ArtifactCorrupt(
                f"{graph.file}: axis {position} of {kind} {name!r} has size {size}, in the manifest {axis.size}"
            )


def _none_unfed(graph: GraphSpec, inputs: dict[str, GraphTensor], fed: set[str]) -> None:
    unfed = inputs.keys() - fed
    if unfed:
        raise ArtifactCorrupt(f"{graph.file} has inputs that the manifest does not name: {_listed(unfed)}")


def _check_vocabulary(graph: GraphSpec, spec: GenerationSpec, logits: GraphTensor) -> None:
    size = logits.shape[1] if len(logits.shape) == 2 else None
    if isinstance(size, int) and size != spec.vocab_size:
        raise ArtifactCorrupt(f"{graph.file} scores {size} tokens, in the manifest {spec.vocab_size}")


def _check_new(graph: GraphSpec, spec: GenerationSpec, tokens: GraphTensor) -> None:
    size = tokens.shape[1] if len(tokens.shape) == 2 else None
    if isinstance(size, int) and size != spec.max_new:
        raise ArtifactCorrupt(f"{graph.file} takes {size} new tokens of a row, in the manifest up to {spec.max_new}")


def _listed(names: "dict[str, GraphTensor] | set[str]") -> str:
    return ", ".join(sorted(names)) or "none"
