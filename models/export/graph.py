"""A network as one ONNX graph, its attention weights as further outputs beside the answer.

A caller who asks for no attention does not fetch those outputs; `benchmarks/attention_outputs.py` measures that their
presence costs such a caller nothing worth a second graph.
"""

from collections.abc import Callable
from pathlib import Path

from torch import Tensor, nn

from models.export.example import example_inputs
from models.export.face import rows_face
from models.export.trace import OPSET, write_graph
from models.export.weights import SharedWeights
from models.tasks.task import Signature
from server.manifest import GraphSpec

GRAPH_FILE = "model.onnx"

Flatten = Callable[[object], tuple[Tensor, ...]]


class _Flat(nn.Module):
    """The network with its output as the tuple that the graph returns."""

    def __init__(self, network: nn.Module, flatten: Flatten, names: tuple[str, ...]) -> None:
        super().__init__()
        self.network = network
        self.flatten = flatten
        self.names = names

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The signature's inputs in order -> its outputs in order."""
        return self.flatten(self.network(**dict(zip(self.names, inputs, strict=True))))


def export_graph(
    network: nn.Module,
    flatten: Flatten,
    signature: Signature,
    directory: Path,
    *,
    weights: SharedWeights | None = None,
) -> GraphSpec:
    """Writes `model.onnx` into `directory`, its large weights into `weights` where they are given.

    The row, length and free axes of the signature stay dynamic. The graph carries no documentation strings and no
    traces of the machine that made it. The network is left in evaluation mode.
    Raises GraphInvalid if the graph written is not valid ONNX, or ONNX Runtime refuses it, or its inputs and outputs
    are not the signature's, or an axis of an input that is to vary has one size.
    """
    example, dynamic = example_inputs(signature.inputs, signature.example_length)
    flat = _Flat(network, flatten, tuple(spec.name for spec in signature.inputs))
    write_graph(flat, example, (dynamic,), rows_face(signature), directory / GRAPH_FILE, weights)
    return GraphSpec(file=GRAPH_FILE, maps=bool(signature.attention), opset=OPSET)
