"""A step whose rows stand as columns in its products with weights.

    rows       [rows, K] @ [K, N] -> [rows, N]
    columns    [N, K] @ [K, rows] -> [N, rows]

A step feeds a token of each row, so that its products have few rows and many weights. ONNX Runtime's kernel for AVX-512
computes blocks of 12 rows by 32 columns: of 16 rows it makes a block of 12 and one of 4, and reads the weights for
each. Turned around, 16 or 32 rows fill whole vectors, and the weights the twelve. On one core of an AMD EPYC of 2024
products with 16 rows ran at 195 GFLOP/s in place of 115, with 32 at 250 in place of 155, but with one at 12 in place
of 24: which of the two graphs runs is up to the server, which measures.
"""

from itertools import count
from pathlib import Path

import numpy as np
import onnx_ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from models.export.weights import SharedWeights
from server.tensors import Array

PRODUCTS = ("MatMul", "Gemm")
ACTIVATIONS = ("Gelu", "Relu", "Sigmoid", "Tanh")
MATRIX_RANK = 2


def turn_products(source: Path, target: Path, weights: SharedWeights | None = None) -> None:
    """Writes the graph in `source` to `target` with its products by fixed matrices turned around.

    Inputs, outputs and what is computed stay the same. Large weights go into `weights` where it is given, but for those
    that the source has in the same file.
    """
    model = onnx_ir.load(source)
    turning = _Turning(model.graph)
    for node in list(model.graph):
        turning.visit(node)
    RemoveUnusedNodesPass()(model)
    if weights is not None:
        weights.take(model)
    onnx_ir.save(model, target)


class _Turning:
    """Goes through the nodes of a graph in their order."""

    def __init__(self, graph: onnx_ir.Graph) -> None:
        self._graph = graph
        self._columns: dict[onnx_ir.Value, onnx_ir.Value] = {}
        """By value, the same numbers as [last axis, all others]."""
        self._turned: dict[onnx_ir.Value, onnx_ir.Value] = {}
        """By fixed matrix the same turned around, by vector the same as a column."""
        self._leading: dict[object, onnx_ir.Value] = {}
        """Shapes without and, by width too, with a last axis, by what the other axes are called."""
        self._constants: dict[tuple[int, ...], onnx_ir.Value] = {}
        self._numbers = count()

    def visit(self, node: onnx_ir.Node) -> None:
        if _is_product(node):
            self._turn(node)
        elif _follows_product(node) and _only_for_products(node.outputs[0]):
            self._follow(node)

    def _turn(self, node: onnx_ir.Node) -> None:
        data = node.inputs[0]
        assert data is not None  # noqa: S101 - products have it
        product = self._emit(node, "MatMul", self._weight(node), self._in_columns(node, data))
        rows = self._emit(node, "Transpose", product, perm=(1, 0))
        if data.shape is not None and len(data.shape) > MATRIX_RANK:
            rows = self._emit(node, "Reshape", rows, self._shape_behind(node, data))
        bias = next(iter(node.inputs[2:]), None)
        if bias is not None:
            rows = self._emit(node, "Add", rows, bias)
        else:
            self._columns[rows] = product
        self._replace(node, rows)

    def _follow(self, node: onnx_ir.Node) -> None:
        """What is done to each number alone is done to the columns, where nobody but products reads the outcome."""
        data, *others = _data_first(node)
        columns = self._columns.get(data)
        if columns is None:
            return
        biases = [self._as_column(other) for other in others]
        made = onnx_ir.node(node.op_type, [columns, *biases])
        made.attributes.update(node.attributes)
        self._insert(node, made)
        self._columns[node.outputs[0]] = made.outputs[0]

    def _in_columns(self, before: onnx_ir.Node, data: onnx_ir.Value) -> onnx_ir.Value:
        if data not in self._columns:
            assert data.shape is not None  # noqa: S101 - looked at in `_is_product`
            flat, width = data, data.shape[-1]
            if len(data.shape) > MATRIX_RANK:
                assert isinstance(width, int)  # noqa: S101 - looked at there too
                flat = self._emit(before, "Reshape", data, self._constant(-1, width))
            self._columns[data] = self._emit(before, "Transpose", flat, perm=(1, 0))
        return self._columns[data]

    def _shape_behind(self, before: onnx_ir.Node, data: onnx_ir.Value) -> onnx_ir.Value:
        """The shape of the product, as a value: the data's but for the last axis."""
        assert data.shape is not None  # noqa: S101
        axes, width = tuple(str(axis) for axis in data.shape[:-1]), _width(before)
        of: object = data if "None" in axes else axes
        if of not in self._leading:
            self._leading[of] = self._emit(before, "Shape", data, start=0, end=-1)
        if (of, width) not in self._leading:
            self._leading[of, width] = self._emit(before, "Concat", self._leading[of], self._constant(width), axis=0)
        return self._leading[of, width]

    def _weight(self, node: onnx_ir.Node) -> onnx_ir.Value:
        """The product's fixed matrix as [N, K]."""
        weight = node.inputs[1]
        assert weight is not None  # noqa: S101 - looked at in `_is_product`
        if _is_transposed(node):
            return weight
        if weight not in self._turned:
            assert weight.const_value is not None  # noqa: S101
            self._turned[weight] = self._initializer(
                f"{weight.name}.turned", np.ascontiguousarray(weight.const_value.numpy().T)
            )
        return self._turned[weight]

    def _as_column(self, vector: onnx_ir.Value) -> onnx_ir.Value:
        if vector not in self._turned:
            assert vector.const_value is not None  # noqa: S101
            self._turned[vector] = self._initializer(f"{vector.name}.turned", vector.const_value.numpy()[:, None])
        return self._turned[vector]

    def _constant(self, *numbers: int) -> onnx_ir.Value:
        if numbers not in self._constants:
            name = f"turned.sizes_{'_'.join(map(str, numbers))}"
            self._constants[numbers] = self._initializer(name, np.array(numbers, np.int64))
        return self._constants[numbers]

    def _initializer(self, name: str, array: Array) -> onnx_ir.Value:
        tensor = onnx_ir.tensor(array, name=name)
        value = onnx_ir.Value(
            name=name, shape=onnx_ir.Shape(array.shape), type=onnx_ir.TensorType(tensor.dtype), const_value=tensor
        )
        self._graph.register_initializer(value)
        return value

    def _emit(
        self, before: onnx_ir.Node, op_type: str, *inputs: onnx_ir.Value, **attributes: int | tuple[int, ...]
    ) -> onnx_ir.Value:
        made = onnx_ir.node(op_type, list(inputs), attributes)
        self._insert(before, made)
        return made.outputs[0]

    def _insert(self, before: onnx_ir.Node, made: onnx_ir.Node) -> None:
        made.outputs[0].name = f"turned.{made.op_type.lower()}_{next(self._numbers)}"
        self._graph.insert_before(before, made)

    def _replace(self, node: onnx_ir.Node, value: onnx_ir.Value) -> None:
        former = node.outputs[0]
        value.type, value.shape = former.type, former.shape
        onnx_ir.convenience.replace_all_uses_with(former, value, replace_graph_outputs=True)
        former.name, value.name = None, former.name
        self._graph.remove(node, safe=True)


def _is_product(node: onnx_ir.Node) -> bool:
    """A product of numbers by a fixed matrix, with the numbers' rank known, that can be turned around."""
    if node.op_type not in PRODUCTS or node.domain:
        return False
    data, weight = node.inputs[0], node.inputs[1]
    if data is None or data.shape is None or len(data.shape) < MATRIX_RANK or data.is_initializer():
        return False
    if not _is_fixed(weight, MATRIX_RANK) or not isinstance(data.shape[-1], int):
        return False
    return node.op_type == "MatMul" or all(
        node.attributes[name].value == plain
        for name, plain in (("alpha", 1.0), ("beta", 1.0), ("transA", 0))
        if name in node.attributes
    )


def _follows_product(node: onnx_ir.Node) -> bool:
    """Whether it does the same to each number, or adds one vector to each row."""
    if node.domain:
        return False
    if node.op_type == "Add":
        return sum(_is_fixed(value, 1) for value in node.inputs) == 1
    return node.op_type in ACTIVATIONS


def _only_for_products(value: onnx_ir.Value) -> bool:
    """Whether nobody reads it but products, at once or after an activation."""
    if value.is_graph_output() or not value.uses():
        return False
    return all(
        (_is_product(use.node) and use.idx == 0)
        or (_follows_product(use.node) and _only_for_products(use.node.outputs[0]))
        for use in value.uses()
    )


def _data_first(node: onnx_ir.Node) -> list[onnx_ir.Value]:
    values = [value for value in node.inputs if value is not None]
    return sorted(values, key=lambda value: value.is_initializer())


def _is_fixed(value: onnx_ir.Value | None, rank: int) -> bool:
    return (
        value is not None and value.is_initializer() and value.const_value is not None
        and len(value.const_value.shape) == rank
        and value.const_value.dtype == onnx_ir.DataType.FLOAT
    )  # fmt: skip


def _is_transposed(node: onnx_ir.Node) -> bool:
    return "transB" in node.attributes and bool(node.attributes["transB"].as_int())


def _width(node: onnx_ir.Node) -> int:
    weight = node.inputs[1]
    assert weight is not None and weight.const_value is not None  # noqa: S101, PT018
    return weight.const_value.shape.numpy()[0 if _is_transposed(node) else 1]
