"""A graph in int8: fixed matrices rounded once, a scale for each column; what meets them rounded as it comes, by one
scale for all of it.

Only products with a fixed matrix change, which is where the time of an encoder goes. Vectors and stacks of matrices
stay: ONNX Runtime's integer kernels take no scale for each of their columns. Embedding tables stay: in int8 they have
one scale for the whole table, which on `areas` costs three times the error of all matrices together and saves memory
but no time. Convolutions stay: the CPU provider's integer convolution is five times slower than the one in fp32.

Weights get seven bits, not eight: two products of eight bits each overflow the 16-bit sums of processors without 8-bit
dot products (AVX2 before VNNI), silently. So that what was measured here is what any host computes.
"""

from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import onnx_ir
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.quant_utils import add_pre_process_metadata

from models.export.failure import QuantisationRefused
from models.export.strip import strip_origins
from models.export.weights import SharedWeights

PRODUCTS = ("MatMul", "Gemm")
MATRIX_RANK = 2


def quantise_graph(source: Path, target: Path, weights: SharedWeights | None = None) -> None:
    """Writes the int8 form of the fp32 graph in `source` to `target`, with the same inputs and outputs.

    Large weights go into `weights` where it is given, but for those that the source has outside itself and that did not
    change: they are read from where they lie, in the same folder.
    Raises QuantisationRefused if the graph multiplies nothing by a fixed matrix.
    """
    model = onnx.load(source)
    _part_shared(model)
    left = _left_alone(model)
    if len(left) == sum(node.op_type in PRODUCTS for node in model.graph.node):
        raise QuantisationRefused(f"{source.name} multiplies nothing by a fixed matrix: int8 would change nothing")
    # The quantiser turns around the weights of Gemm, and then stumbles over the shapes noted for them.
    del model.graph.value_info[:]
    # It also advises, in the log, to optimise the graph first, unless this says that it was: the exporter did.
    add_pre_process_metadata(model)
    with TemporaryDirectory() as scratch:
        written = Path(scratch) / target.name
        quantize_dynamic(
            model,
            written,
            op_types_to_quantize=list(PRODUCTS),
            nodes_to_exclude=left,
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
            use_external_data_format=weights is not None,
            # What follows an operator that ONNX itself does not know, such as attention over cached keys.
            extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
        )
        rounded = onnx_ir.load(written)
        strip_origins(rounded)
        if weights is not None:
            _read_in_place(rounded, source)
            weights.take(rounded)
        onnx_ir.save(rounded, target)


def graph_bytes(graph: Path) -> int:
    """The size of a graph with the weights that it reads from outside itself."""
    model = onnx.load(graph, load_external_data=False)
    outside = sum(
        int(entry.value)
        for weight in model.graph.initializer
        for entry in weight.external_data
        if entry.key == "length"
    )
    return graph.stat().st_size + outside


def _part_shared(model: onnx.ModelProto) -> None:
    """Gives each Gemm that reads a matrix turned around, and shares it with others, one of its own, as it reads it.

    The quantiser turns the matrix itself around and forgets the others, such as a lookup in it.
    """
    uses = Counter(name for node in model.graph.node for name in node.input)
    weights = {weight.name: weight for weight in model.graph.initializer}
    for node in model.graph.node:
        turned = next((attribute for attribute in node.attribute if attribute.name == "transB" and attribute.i), None)
        if node.op_type != "Gemm" or turned is None or uses[node.input[1]] == 1 or node.input[1] not in weights:
            continue
        own = np.ascontiguousarray(onnx.numpy_helper.to_array(weights[node.input[1]]).T)
        node.input[1] += "_turned"
        model.graph.initializer.append(onnx.numpy_helper.from_array(own, node.input[1]))
        turned.i = 0


def _left_alone(model: onnx.ModelProto) -> list[str]:
    """The names of the products without a fixed matrix on their right; nodes without a name get one."""
    matrices = {weight.name for weight in model.graph.initializer if len(weight.dims) == MATRIX_RANK}
    for number, node in enumerate(model.graph.node):
        node.name = node.name or f"node_{number}"
    return [node.name for node in model.graph.node if node.op_type in PRODUCTS and node.input[1] not in matrices]


def _read_in_place(rounded: onnx_ir.Model, source: Path) -> None:
    """Points the weights that kept their name, and so their numbers, to where the source reads them."""
    outside = {
        name: value.const_value
        for name, value in onnx_ir.load(source).graph.initializers.items()
        if isinstance(value.const_value, onnx_ir.ExternalTensor)
    }
    for name, value in rounded.graph.initializers.items():
        if name in outside:
            value.const_value = outside[name]
