"""The graphs that take a batch's rows packed, without padding: what they need is in `server.packed`."""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from models.export.example import Dimension
from models.export.face import packed_face
from models.export.graph import Flatten
from models.export.trace import OPSET, write_graph
from models.export.weights import SharedWeights
from models.networks.layout import PACKED, Packable
from models.tasks.task import Signature
from server.manifest import GraphSpec
from server.packed import PACKED_LAYOUTS, PackedLayout, can_be_packed, packed_inputs, packed_outputs
from server.tensors import NUMPY_DTYPES

PACKED_FILES: dict[PackedLayout, str] = {layout: f"{layout}.onnx" for layout in PACKED_LAYOUTS}

# All different, and none a product of others, because the exporter may tie axes of equal size together.
EXAMPLE_SIZES = {"tokens": 11, "rows": 3, "longest": 5}


class _Packed(nn.Module):
    """The network over packed rows, with the tuple of outputs that the graph returns."""

    def __init__(self, network: nn.Module, flatten: Flatten, signature: Signature, layout: PackedLayout) -> None:
        super().__init__()
        self.network = network
        self.flatten = flatten
        self.layout = PACKED[layout]
        self.names = [spec.name for spec in signature.inputs if spec.role == "data"]
        offered = packed_outputs(signature.outputs)
        self.offered = [spec in offered for spec in signature.outputs]

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The data inputs in order and then the layout's -> the outputs that it offers, in order."""
        data, places = inputs[: len(self.names)], inputs[len(self.names) :]
        assert isinstance(self.network, Packable)  # noqa: S101 - `export_packed` has checked it
        output = self.network.over(self.layout(*places), **dict(zip(self.names, data, strict=True)))
        return tuple(tensor for tensor, kept in zip(self.flatten(output), self.offered, strict=True) if kept)


def is_packable(network: nn.Module, signature: Signature) -> bool:
    """Whether the network has packed graphs: its rows are sequences of tokens, and it can tell them apart."""
    return isinstance(network, Packable) and network.packable and can_be_packed(signature.inputs, signature.outputs)


def export_packed(
    network: nn.Module,
    flatten: Flatten,
    signature: Signature,
    directory: Path,
    *,
    weights: SharedWeights | None = None,
) -> Iterator[GraphSpec]:
    """Writes a graph for each packed layout into `directory`; none if the network cannot be packed.

    Everything else is as `export_graph` has it.
    """
    if not is_packable(network, signature):
        return
    for layout, file in PACKED_FILES.items():
        module = _Packed(network, flatten, signature, layout)
        example, dynamic = _example(signature, layout)
        write_graph(module, example, (dynamic,), packed_face(signature, layout), directory / file, weights)
        yield GraphSpec(file=file, layout=layout, opset=OPSET)


def _example(signature: Signature, layout: PackedLayout) -> tuple[tuple[Tensor, ...], tuple[dict[int, Dimension], ...]]:
    """Zeros for each input, which are valid as ids and as places, and which of its axes are dynamic: all."""
    sizes = {name: Dimension(name, min=1) for name in EXAMPLE_SIZES}
    inputs = packed_inputs(signature.inputs, layout)
    tensors = (
        torch.zeros(
            [EXAMPLE_SIZES[axis] for axis in spec.axes],
            dtype=torch.from_numpy(NUMPY_DTYPES[spec.datatype].type(0).reshape(1)).dtype,
        )
        for spec in inputs
    )
    return tuple(tensors), tuple({n: sizes[axis] for n, axis in enumerate(spec.axes)} for spec in inputs)
