from pathlib import Path

import numpy as np
import onnx_ir
import pytest
import torch
from torch import nn

from models.export.graph import GRAPH_FILE, export_graph
from models.export.weights import (
    ALIGNMENT_BYTES,
    WEIGHTS_FILE,
    SharedWeights,
    has_shared_weights,
    shared_weights,
    store_as_in_matmul,
)
from models.tasks.task import Signature
from server.manifest import FixedAxis, InputSpec, LengthAxis, OutputSpec, RowAxis
from server.runtime.session import Session
from server.tensors import Datatype

WIDTH = 64
ONE_MATRIX = WIDTH * WIDTH * 4


class Wide(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)

    def forward(self, values):
        return self.linear(values)


def signature(*between):
    """Values by row, with further axes before the width: a Gemm without them, a MatMul with."""
    axes = (RowAxis(), *between, FixedAxis(size=WIDTH))
    return Signature(
        inputs=(InputSpec(name="values", datatype=Datatype.FP32, axes=axes),),
        outputs=(OutputSpec(name="answer", datatype=Datatype.FP32, axes=axes),),
    )


def export(network, directory, weights, *between):
    directory.mkdir(exist_ok=True)
    export_graph(network, lambda output: (output,), signature(*between), directory, weights=weights)
    return directory / GRAPH_FILE


@pytest.fixture
def network():
    torch.manual_seed(0)
    return Wide()


def answer(path, values):
    return Session.open(path).run({"values": values.numpy()})["answer"]


def initializers(path):
    return {name: value.const_value for name, value in onnx_ir.load(path).graph.initializers.items()}


def test_small_weights_are_embedded_and_large_ones_shared(network, tmp_path):
    size = sum(parameter.nbytes for parameter in network.parameters())
    assert shared_weights(network, tmp_path, embedded_max_bytes=size) is None
    assert isinstance(shared_weights(network, tmp_path, embedded_max_bytes=size - 1), SharedWeights)


def test_large_weights_lie_beside_the_graph_without_a_path_of_this_machine(network, tmp_path):
    directory = tmp_path / "somewhere"
    export(network, directory, SharedWeights(directory))
    assert has_shared_weights(directory)
    assert (directory / WEIGHTS_FILE).stat().st_size == ONE_MATRIX
    moved = directory.rename(tmp_path / "elsewhere")
    values = torch.randn(3, WIDTH)
    np.testing.assert_allclose(answer(moved / GRAPH_FILE, values), network(values).detach(), atol=1e-5)
    assert b"somewhere" not in (moved / GRAPH_FILE).read_bytes()


def test_equal_weights_of_two_graphs_lie_in_the_file_once(network, tmp_path):
    weights = SharedWeights(tmp_path)
    by_matmul = export(network, tmp_path, weights, LengthAxis()).rename(tmp_path / "rows.onnx")
    by_gemm = export(network, tmp_path, weights)
    assert {node.op_type for node in onnx_ir.load(by_matmul).graph} == {"MatMul", "Add"}
    assert {node.op_type for node in onnx_ir.load(by_gemm).graph} == {"Gemm"}
    assert (tmp_path / WEIGHTS_FILE).stat().st_size == ONE_MATRIX
    values = torch.randn(3, 5, WIDTH)
    expected = network(values).detach()
    np.testing.assert_allclose(answer(by_matmul, values), expected, atol=1e-5)
    np.testing.assert_allclose(answer(by_gemm, values.flatten(0, 1)), expected.flatten(0, 1), atol=1e-5)


def test_other_weights_are_added_at_the_next_page(network, tmp_path):
    weights = SharedWeights(tmp_path)
    export(network, tmp_path, weights)
    with torch.no_grad():
        network.linear.weight.add_(1.0)
    path = export(network, tmp_path, weights)
    outside = [tensor for tensor in initializers(path).values() if isinstance(tensor, onnx_ir.ExternalTensor)]
    assert [tensor.offset % ALIGNMENT_BYTES for tensor in outside] == [0]
    assert outside[0].offset >= ONE_MATRIX
    values = torch.randn(3, WIDTH)
    np.testing.assert_allclose(answer(path, values), network(values).detach(), atol=1e-5, rtol=1e-5)


def test_weights_that_a_graph_reads_from_another_file_of_the_folder_stay_there(network, tmp_path):
    path = export(network, tmp_path, SharedWeights(tmp_path))
    model = onnx_ir.load(path)
    SharedWeights(tmp_path, "other.bin").take(model)
    assert not (tmp_path / "other.bin").exists()
    locations = {Path(tensor.location).name for tensor in initializers(path).values() if hasattr(tensor, "location")}
    assert locations == {WEIGHTS_FILE}


def test_weights_of_gemm_are_turned_around_once(network, tmp_path):
    model = onnx_ir.load(export(network, tmp_path, None))
    before = next(value.const_value.numpy() for value in model.graph.initializers.values() if len(value.shape) == 2)
    for _ in range(2):
        store_as_in_matmul(model)
        (gemm,) = model.graph
        assert gemm.attributes["transB"].as_int() == 0
        np.testing.assert_array_equal(gemm.inputs[1].const_value.numpy(), before.T)
