"""`weights.bin`: large weights of a bundle, each once, for all graphs that need it.

The system maps it into memory, so that the graphs' sessions read the same pages. Against three graphs that each embed
90 MB, a session opens in 0.04 s in place of 0.20 and takes 100 MB at its peak in place of 310 (ADR 7).
"""

import hashlib
from pathlib import Path

import numpy as np
import onnx_ir
from torch import nn

from server.tensors import Array

WEIGHTS_FILE = "weights.bin"

# Below this, a bundle whose graphs are files of their own is worth more than what it costs to read each of them.
EMBEDDED_WEIGHTS_MAX_BYTES = 16 * 1024**2
SMALLEST_BYTES = 1024
"""Tensors below this stay in the graph: axes and shapes must, and biases of small layers may as well."""
ALIGNMENT_BYTES = 4096
"""Where a tensor may begin: at a page, as a mapping does."""


class SharedWeights:
    """A weights file in the making, `directory/file`; graphs are taken out of memory into it one by one."""

    def __init__(self, directory: Path, file: str = WEIGHTS_FILE) -> None:
        self._path = directory / file
        self._offsets: dict[str, int] = {}

    def take(self, model: onnx_ir.Model) -> None:
        """Moves the model's large initializers into the file, or to where the same bytes lie in it already.

        Those that the model reads from another file of the same folder stay where they are.
        """
        store_as_in_matmul(model)
        for name, value in model.graph.initializers.items():
            tensor = value.const_value
            if tensor is None or tensor.nbytes < SMALLEST_BYTES or self._lies_beside(tensor):
                continue
            content = tensor.tobytes()
            value.const_value = onnx_ir.ExternalTensor(
                self._path.name,
                self._offset(content),
                len(content),
                tensor.dtype,
                shape=onnx_ir.Shape(tensor.shape.numpy()),
                name=name,
                base_dir=self._path.parent,
            )

    def _lies_beside(self, tensor: onnx_ir.TensorProtocol) -> bool:
        return isinstance(tensor, onnx_ir.ExternalTensor) and Path(tensor.base_dir) == self._path.parent

    def _offset(self, content: bytes) -> int:
        """Where these bytes begin in the file; they are written if they are not there yet."""
        key = hashlib.sha256(content).hexdigest()
        if key not in self._offsets:
            with self._path.open("ab") as file:
                file.write(b"\0" * (-file.tell() % ALIGNMENT_BYTES))
                self._offsets[key] = file.tell()
                file.write(content)
        return self._offsets[key]


def shared_weights(
    network: nn.Module, directory: Path, embedded_max_bytes: int = EMBEDDED_WEIGHTS_MAX_BYTES
) -> SharedWeights | None:
    """The weights file for graphs of this network in `directory`; None where each graph is to hold its weights."""
    size = sum(tensor.nbytes for tensor in [*network.parameters(), *network.buffers()])
    return SharedWeights(directory) if size > embedded_max_bytes else None


def has_shared_weights(directory: Path) -> bool:
    """Whether the graphs in a bundle's folder share their weights."""
    return (directory / WEIGHTS_FILE).exists()


def store_as_in_matmul(model: onnx_ir.Model) -> None:
    """Turns weights of Gemm around that are stored transposed, (out, in), as PyTorch has them.

    A layer over padded rows is a MatMul and one over packed tokens is a Gemm; stored alike they are one tensor.
    """
    for node in model.graph:
        transposed = node.attributes.get("transB")
        if node.op_type != "Gemm" or transposed is None or transposed.as_int() == 0:
            continue
        weight = node.inputs[1]
        if weight is None or weight.const_value is None or len(weight.uses()) != 1 or not weight.is_initializer():
            continue
        turned: Array = np.ascontiguousarray(weight.const_value.numpy().T)
        weight.const_value = onnx_ir.tensor(turned, name=weight.name)
        weight.shape = onnx_ir.Shape(turned.shape)
        node.attributes["transB"] = onnx_ir.AttrInt64("transB", 0)
