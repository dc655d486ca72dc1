"""Products turned around: the same numbers, from matrices on the left."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from models.export.columns import turn_products
from models.export.weights import SharedWeights

WIDTH, INNER = 6, 10


@pytest.fixture
def turn(tmp_path):
    """Writes a graph of these nodes over `data`, and its turned form; both as (model, answer to `data`)."""

    def write(nodes, weights, axes, outputs=("answer",), shared=False):
        rng = np.random.default_rng(0)
        initializers = [
            numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name)
            for name, shape in weights.items()
        ]
        data = helper.make_tensor_value_info("data", TensorProto.FLOAT, axes)
        answers = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
        graph = helper.make_graph(
            [helper.make_node(*node[:3], **node[3]) for node in nodes], "g", [data], answers, initializers
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        onnx.save(onnx.shape_inference.infer_shapes(model), tmp_path / "step.onnx")
        kept = SharedWeights(tmp_path) if shared else None
        turn_products(tmp_path / "step.onnx", tmp_path / "step-columns.onnx", kept)
        onnx.checker.check_model(tmp_path / "step-columns.onnx", full_check=True)
        return [(onnx.load(tmp_path / name), run(tmp_path / name)) for name in ("step.onnx", "step-columns.onnx")]

    def run(path):
        session = onnxruntime.InferenceSession(path)
        sizes = {"rows": 5, "new": 2}
        shape = [sizes.get(axis, axis) for axis in session.get_inputs()[0].shape]
        data = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
        return session.run(None, {"data": data})

    return write


def kinds(model):
    return [node.op_type for node in model.graph.node]


def node(kind, inputs, output, **attributes):
    return kind, inputs.split(), [output], attributes


def assert_same_answers(before, after):
    for one, other in zip(before[1], after[1], strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("axes", [["rows", WIDTH], ["rows", "new", WIDTH], ["rows", 1, WIDTH]])
def test_a_product_by_a_fixed_matrix_has_it_on_its_left(turn, axes):
    before, after = turn([node("MatMul", "data weight", "answer")], {"weight": (WIDTH, INNER)}, axes)
    assert_same_answers(before, after)
    (product,) = (one for one in after[0].graph.node if one.op_type == "MatMul")
    shapes = {weight.name: list(weight.dims) for weight in after[0].graph.initializer}
    assert shapes[product.input[0]] == [INNER, WIDTH]
    assert "weight" not in shapes, "nobody reads it the other way any more"


@pytest.mark.parametrize("turned", [0, 1])
def test_a_layer_with_a_bias_is_turned_however_its_weights_lie(turn, turned):
    shape = (INNER, WIDTH) if turned else (WIDTH, INNER)
    layer = node("Gemm", "data weight bias", "answer", transB=turned)
    before, after = turn([layer], {"weight": shape, "bias": (INNER,)}, ["rows", WIDTH])
    assert_same_answers(before, after)
    assert kinds(after[0]) == ["Transpose", "MatMul", "Transpose", "Add"]


def test_between_two_layers_numbers_stay_columns(turn):
    nodes = [
        node("MatMul", "data first", "inner"),
        node("Add", "bias inner", "shifted"),
        node("Gelu", "shifted", "active", approximate="tanh"),
        node("MatMul", "active second", "back"),
        node("Add", "back data", "answer"),
    ]
    weights = {"first": (WIDTH, INNER), "bias": (INNER,), "second": (INNER, WIDTH)}
    before, after = turn(nodes, weights, ["rows", "new", WIDTH])
    assert_same_answers(before, after)
    assert kinds(after[0]).count("Transpose") == 2, "into columns, and out of them"


def test_what_others_read_too_is_rows_again(turn):
    nodes = [
        node("MatMul", "data first", "inner"),
        node("Relu", "inner", "active"),
        node("MatMul", "active second", "answer"),
        node("Neg", "active", "beside"),
    ]
    weights = {"first": (WIDTH, INNER), "second": (INNER, WIDTH)}
    before, after = turn(nodes, weights, ["rows", "new", WIDTH], outputs=("answer", "beside"))
    assert_same_answers(before, after)
    assert kinds(after[0]).count("Transpose") == 4, "into columns and out of them, for each product"


def test_one_input_of_several_products_is_turned_once(turn):
    nodes = [
        node("MatMul", "data first", "one"),
        node("MatMul", "data second", "two"),
        node("Concat", "one two", "answer", axis=-1),
    ]
    before, after = turn(nodes, {"first": (WIDTH, 3), "second": (WIDTH, 4)}, ["rows", "new", WIDTH])
    assert_same_answers(before, after)
    assert kinds(after[0]).count("Transpose") == 3
    assert kinds(after[0]).count("Shape") == 1


def test_products_of_two_inputs_and_scaled_ones_stay_as_they_are(turn):
    nodes = [
        node("Gemm", "data weight", "scaled", alpha=0.5),
        node("MatMul", "data scaled", "answer"),
    ]
    before, after = turn(nodes, {"weight": (WIDTH, WIDTH)}, [WIDTH, WIDTH])
    assert_same_answers(before, after)
    assert kinds(after[0]) == kinds(before[0])


def test_large_weights_go_to_the_others(turn, tmp_path):
    before, after = turn(
        [node("MatMul", "data weight", "answer")], {"weight": (WIDTH, 300)}, ["rows", WIDTH], shared=True
    )
    assert_same_answers(before, after)
    assert (tmp_path / "weights.bin").stat().st_size == WIDTH * 300 * 4
    assert (tmp_path / "step-columns.onnx").stat().st_size < WIDTH * 300 * 4
