"""Reading graphs, adding nodes to them, and moving parts of one into another."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import onnx_ir
from google.protobuf.message import DecodeError
from onnx_ir.passes.common import RemoveUnusedNodesPass

from models.importing.failure import ImportRefused
from server.store.external_data import check_external_data

_OURS = "import/"
"""Before the names of what is added, which no exporter writes."""


def read_graph(path: Path) -> onnx_ir.Model:
    """Loads a graph; weights in a file beside it stay there until they are asked for.

    Raises ArtifactCorrupt if it is not ONNX, or keeps weights anywhere else than beside itself; ImportRefused if the
    file cannot be made sense of.
    """
    folder = path.parent.resolve()
    check_external_data(folder, folder, path.name, None)
    try:
        return onnx_ir.load(path)
    except (DecodeError, ValueError, KeyError, TypeError) as error:
        raise ImportRefused(f"{path.name} is not a graph that can be read") from error


def by_name(values: Iterable[onnx_ir.Value]) -> dict[str, onnx_ir.Value]:
    """A graph's inputs or outputs by their names."""
    return {str(value.name): value for value in values}


def keep_outputs(model: onnx_ir.Model, outputs: Sequence[onnx_ir.Value]) -> None:
    """Leaves of a graph what makes these outputs, and all of its inputs."""
    model.graph.outputs[:] = list(outputs)
    RemoveUnusedNodesPass()(model)


def constant(graph: onnx_ir.Graph, name: str, value: int | Sequence[int]) -> onnx_ir.Value:
    """A new int64 scalar or vector in the graph."""
    tensor = onnx_ir.tensor(value, dtype=onnx_ir.DataType.INT64, name=_OURS + name)
    initializer = onnx_ir.Value(
        name=_OURS + name,
        shape=onnx_ir.Shape(tensor.shape.numpy()),
        type=onnx_ir.TensorType(onnx_ir.DataType.INT64),
        const_value=tensor,
    )
    graph.register_initializer(initializer)
    return initializer


def new_node(
    operator: str, inputs: Sequence[onnx_ir.Value], name: str, output: str | None = None, *, axis: int | None = None
) -> onnx_ir.Node:
    """A node of one output, which is called `output`, or by default as the node; it is in no graph yet."""
    node = onnx_ir.node(operator, inputs, None if axis is None else {"axis": axis}, name=_OURS + name)
    node.outputs[0].name = _OURS + name if output is None else output
    return node


def move_nodes(source: onnx_ir.Graph, target: onnx_ir.Graph, prefix: str) -> None:
    """Moves all nodes and weights of a graph to the end of another, `prefix` before all names but the outputs'.

    What the nodes take from the source's inputs must have been replaced by values of the target before.
    """
    outputs = set(source.outputs)
    source.outputs[:] = []
    for node in onnx_ir.traversal.RecursiveGraphIterator(source):
        node.name = prefix + node.name if node.name else None
        for value in node.outputs:
            if value not in outputs and value.name:
                value.name = prefix + value.name
    for name in list(source.initializers):
        value = source.initializers.pop(name)
        value.name = prefix + name
        target.register_initializer(value)
    nodes = list(source)
    source.remove(nodes)
    target.extend(nodes)
