"""A network as one ONNX graph, its attention weights as further outputs beside the answer.

A caller who asks for no attention does not fetch those outputs; `benchmarks/attention_outputs.py` measures that their
presence costs such a caller nothing worth a second graph.
"""

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import onnx
import onnx_ir
import torch
from torch import Tensor, nn

from models.export.example import example_inputs
from models.export.failure import GraphInvalid
from models.export.strip import strip_origins
from models.tasks.task import Signature
from server.errors import ArtifactCorrupt
from server.manifest import FixedAxis, GraphSpec
from server.runtime.session import Session

GRAPH_FILE = "model.onnx"
WEIGHTS_FILE = "weights.bin"
OPSET = 20

# A protobuf message ends at 2 GiB; well before that, one file that graphs can share and the system can map is better.
EMBEDDED_WEIGHTS_MAX_BYTES = 512 * 1024**2

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
    embedded_max_bytes: int = EMBEDDED_WEIGHTS_MAX_BYTES,
) -> GraphSpec:
    """Writes `model.onnx` into `directory`, and `weights.bin` where the weights exceed `embedded_max_bytes`.

    The row, length and free axes of the signature stay dynamic. The graph carries no documentation strings and no
    traces of the machine that made it. The network is left in evaluation mode.
    Raises GraphInvalid if the graph written is not valid ONNX, or ONNX Runtime refuses it, or its inputs and outputs
    are not the signature's, or an axis of an input that is to vary has one size.
    """
    example, dynamic = example_inputs(signature.inputs, signature.example_length)
    flat = _Flat(network, flatten, tuple(spec.name for spec in signature.inputs)).eval()
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            flat,
            example,
            dynamo=True,
            dynamic_shapes=(dynamic,),  # one entry: the inputs arrive through one variadic argument
            opset_version=OPSET,
            input_names=[spec.name for spec in signature.inputs],
            output_names=[spec.name for spec in signature.outputs],
            verbose=False,
        )
    if program is None:
        raise GraphInvalid("the exporter returned no graph")
    keep_output_names_apart(program.model)
    strip_origins(program.model)
    path = directory / GRAPH_FILE
    weights_bytes = sum(tensor.nbytes for tensor in [*network.parameters(), *network.buffers()])
    onnx_ir.save(program.model, path, external_data=WEIGHTS_FILE if weights_bytes > embedded_max_bytes else None)
    check_graph(path, signature)
    return GraphSpec(file=GRAPH_FILE, maps=bool(signature.attention), opset=OPSET)


def keep_output_names_apart(model: onnx_ir.Model) -> None:
    """Renames inner values that bear the name of an output.

    The exporter names inner values after the operators that make them and outputs as it is told, without comparing
    them: an output called `linear` or `embedding` would make the model invalid.
    """
    outputs = {value.name: value for value in model.graph.outputs}
    values = [value for node in onnx_ir.traversal.RecursiveGraphIterator(model.graph) for value in node.outputs]
    taken = {value.name for value in (*values, *model.graph.inputs, *model.graph.initializers.values())}
    for value in values:
        if value.name in outputs and outputs[value.name] is not value:
            value.name = next(name for n in count() if (name := f"{value.name}_inner_{n}") not in taken)
            taken.add(value.name)


def check_graph(path: Path, signature: Signature) -> None:
    """Loads a graph as the server will: the exporter may write an invalid one without a word.

    Raises GraphInvalid as `export_graph` does.
    """
    try:
        onnx.checker.check_model(path, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise GraphInvalid(f"{path.name} is not a valid ONNX model: {str(error).splitlines()[0]}") from error
    try:
        session = Session.open(path)
    except ArtifactCorrupt as error:
        raise GraphInvalid(f"ONNX Runtime refuses {path.name}: {error.message}") from error
    try:
        for kind, specs, tensors in (
            ("inputs", signature.inputs, session.inputs),
            ("outputs", signature.outputs, session.outputs),
        ):
            expected = [f"{spec.name} {spec.datatype}" for spec in specs]
            found = [f"{tensor.name} {tensor.datatype}" for tensor in tensors]
            if found != expected:
                raise GraphInvalid(
                    f"the graph's {kind} are {', '.join(found)}, but the signature says {', '.join(expected)}"
                )
        _check_varying(signature, session)
    finally:
        session.close()


def _check_varying(signature: Signature, session: Session) -> None:
    """The exporter falls back on the sizes of the example, silently, where it cannot keep an axis open."""
    for spec, tensor in zip(signature.inputs, session.inputs, strict=True):
        for position, (axis, size) in enumerate(zip(spec.axes, tensor.shape, strict=False)):
            only_one = isinstance(axis, FixedAxis) or getattr(axis, "max", None) == 1
            if isinstance(size, int) and not only_one:
                raise GraphInvalid(
                    f"axis {position} of the graph's input {spec.name} is always {size}, but the signature says that "
                    f"it is a {axis.kind} axis: the exporter cannot keep it open where the network does something "
                    "else at that size than at others"
                )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Holds back the exporter's remarks on its own internals; failures are exceptions and pass."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
