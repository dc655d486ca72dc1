import logging

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from models.export.failure import QuantisationRefused
from models.export.quantise import graph_bytes, quantise_graph
from models.export.weights import WEIGHTS_FILE, SharedWeights
from server.runtime.session import Session

WIDTH = 64
RNG = np.random.default_rng(0)
MATRIX = RNG.normal(size=(WIDTH, WIDTH)).astype(np.float32)
TABLE = RNG.normal(size=(100, WIDTH)).astype(np.float32)
IDS = RNG.integers(0, 100, size=(3, 5))


def write(path, *nodes, **weights):
    """A graph from token ids (rows, length) to `answer`, by way of the rows of a table, `x`."""
    tensors = [numpy_helper.from_array(array, name) for name, array in {"table": TABLE, **weights}.items()]
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "ids"], ["x"]), *nodes],
        "graph",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["rows", "length"])],
        [helper.make_tensor_value_info("answer", TensorProto.FLOAT, None)],
        tensors,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)


def operators(path):
    return {node.op_type for node in onnx.load(path).graph.node}


def answer(path):
    session = Session.open(path)
    try:
        return session.run({"ids": IDS})["answer"]
    finally:
        session.close()


@pytest.fixture
def source(tmp_path):
    """One product with a fixed matrix."""
    write(tmp_path / "model.onnx", helper.make_node("MatMul", ["x", "matrix"], ["answer"]), matrix=MATRIX)
    return tmp_path / "model.onnx"


def test_fixed_matrix_becomes_int8_of_seven_bits_and_the_answer_stays_near(source, tmp_path):
    quantise_graph(source, tmp_path / "int8.onnx")
    assert "MatMulInteger" in operators(tmp_path / "int8.onnx")
    exact, rounded = answer(source), answer(tmp_path / "int8.onnx")
    assert 0 < np.abs(exact - rounded).max() < 0.05 * np.abs(exact).max()
    weights = onnx.load(tmp_path / "int8.onnx").graph.initializer
    (small,) = (
        numpy_helper.to_array(weight)
        for weight in weights
        if weight.data_type == TensorProto.INT8 and weight.dims == [WIDTH, WIDTH]
    )
    assert np.abs(small.astype(int)).max() == 64
    assert graph_bytes(tmp_path / "int8.onnx") < graph_bytes(source)


def test_product_with_a_transposed_matrix_and_a_bias_becomes_int8(tmp_path):
    bias = RNG.normal(size=WIDTH).astype(np.float32)
    write(
        tmp_path / "model.onnx",
        helper.make_node("Reshape", ["x", "shape"], ["flat"]),
        helper.make_node("Gemm", ["flat", "matrix", "bias"], ["answer"], transB=1),
        matrix=MATRIX,
        bias=bias,
        shape=np.array([-1, WIDTH]),
    )
    quantise_graph(tmp_path / "model.onnx", tmp_path / "int8.onnx")
    assert not operators(tmp_path / "int8.onnx") & {"Gemm", "MatMul"}
    exact, rounded = answer(tmp_path / "model.onnx"), answer(tmp_path / "int8.onnx")
    assert np.abs(exact - rounded).max() < 0.05 * np.abs(exact).max()


@pytest.mark.parametrize("shape", [(WIDTH,), (3, WIDTH, 2)], ids=["vector", "stack of matrices"])
def test_product_with_another_fixed_tensor_stays_as_it_is(shape, tmp_path):
    write(
        tmp_path / "model.onnx",
        helper.make_node("MatMul", ["x", "matrix"], ["y"]),
        helper.make_node("MatMul", ["y", "other"], ["answer"]),
        matrix=MATRIX,
        other=RNG.normal(size=shape).astype(np.float32),
    )
    quantise_graph(tmp_path / "model.onnx", tmp_path / "int8.onnx")
    assert {"MatMul", "MatMulInteger"} <= operators(tmp_path / "int8.onnx")
    exact, rounded = answer(tmp_path / "model.onnx"), answer(tmp_path / "int8.onnx")
    assert np.abs(exact - rounded).max() < 0.05 * np.abs(exact).max()


def test_graph_without_a_fixed_matrix_is_refused(tmp_path):
    write(tmp_path / "model.onnx", helper.make_node("Identity", ["x"], ["answer"]))
    with pytest.raises(QuantisationRefused, match=r"model\.onnx multiplies nothing by a fixed matrix"):
        quantise_graph(tmp_path / "model.onnx", tmp_path / "int8.onnx")
    assert not (tmp_path / "int8.onnx").exists()


def test_quantiser_leaves_no_notes_in_the_graph_and_no_advice_in_the_log(source, tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        quantise_graph(source, tmp_path / "int8.onnx")
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert not onnx.load(tmp_path / "int8.onnx").metadata_props


def test_what_did_not_change_is_read_from_the_file_of_the_source(source, tmp_path):
    import onnx_ir

    model = onnx_ir.load(source)
    SharedWeights(tmp_path).take(model)
    onnx_ir.save(model, source)
    exact = answer(source)
    shared = (tmp_path / WEIGHTS_FILE).read_bytes()
    quantise_graph(source, tmp_path / "int8.onnx", SharedWeights(tmp_path, "weights.int8.bin"))
    assert (tmp_path / WEIGHTS_FILE).read_bytes() == shared
    assert (tmp_path / "weights.int8.bin").stat().st_size == MATRIX.size
    outside = {
        weight.name: weight.external_data[0].value
        for weight in onnx.load(tmp_path / "int8.onnx", load_external_data=False).graph.initializer
        if weight.external_data
    }
    assert outside["table"] == WEIGHTS_FILE
    assert sorted(outside.values()) == [WEIGHTS_FILE, "weights.int8.bin"]
    assert graph_bytes(source) == source.stat().st_size + TABLE.nbytes + MATRIX.nbytes
    assert graph_bytes(tmp_path / "int8.onnx") == (tmp_path / "int8.onnx").stat().st_size + TABLE.nbytes + MATRIX.size
    assert np.abs(exact - answer(tmp_path / "int8.onnx")).max() < 0.05 * np.abs(exact).max()
