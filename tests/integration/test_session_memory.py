"""Many runs of many shapes leave no memory behind: neither ONNX Runtime's arena nor anything of ours grows."""

import gc

import numpy as np
import psutil
import pytest
from onnx import TensorProto, helper

from server.runtime.providers import Execution, Provider, installed_providers
from server.runtime.session import Session
from tests.support.artifacts import graph_bytes

RUNS = 20_000
WARM_UP = 2_000
BOUND_BYTES = 4 * 1024**2
"""What may come with the process's own life; a run that leaves 250 bytes behind fails."""

WIDTH, VOCABULARY, LONGEST = 16, 64, 48
ROWS = 8
TINY_WEIGHTS = {
    "table": (VOCABULARY, WIDTH),
    "query": (WIDTH, WIDTH),
    "key": (WIDTH, WIDTH),
    "value": (WIDTH, WIDTH),
}


def attention_graph():
    """Token ids [rows, length] -> one vector a row: an embedding, one head of attention, a mean."""
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["x"]),
        helper.make_node("MatMul", ["x", "query"], ["q"]),
        helper.make_node("MatMul", ["x", "key"], ["k"]),
        helper.make_node("MatMul", ["x", "value"], ["v"]),
        helper.make_node("Transpose", ["k"], ["kt"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["q", "kt"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["weights"], axis=-1),
        helper.make_node("MatMul", ["weights", "v"], ["context"]),
        helper.make_node("ReduceMean", ["context"], ["vector"], axes=[1], keepdims=0),
    ]
    return graph_bytes(
        nodes,
        {"ids": (TensorProto.INT64, ("rows", "length"))},
        {"vector": (TensorProto.FLOAT, ("rows", WIDTH))},
        {name: rng.normal(size=shape).astype(np.float32) for name, shape in TINY_WEIGHTS.items()},
    )


@pytest.fixture
def opened(tmp_path):
    sessions = []

    def open_session(execution):
        path = tmp_path / "model.onnx"
        path.write_bytes(attention_graph())
        sessions.append(Session.open(path, execution=execution))
        return sessions[-1]

    yield open_session
    for session in sessions:
        session.close()


def growth(session, shapes):
    """Bytes that the process holds more after so many runs, from the end of the warm-up on."""
    process = psutil.Process()
    session.run({"ids": np.zeros((ROWS, LONGEST), np.int64)})
    for number, shape in enumerate(shapes):
        if number == WARM_UP:
            gc.collect()
            before = process.memory_info().rss
        session.run({"ids": np.full(shape, number % VOCABULARY, np.int64)})
    gc.collect()
    return process.memory_info().rss - before


def shapes(step):
    """Random numbers of rows, and lengths that are multiples of `step`."""
    rng = np.random.default_rng(1)
    rows = rng.integers(1, ROWS + 1, RUNS + WARM_UP)
    lengths = rng.integers(1, LONGEST // step + 1, RUNS + WARM_UP) * step
    return zip(rows.tolist(), lengths.tolist(), strict=True)


def test_runs_of_random_shapes_leave_no_memory_behind(opened):
    assert growth(opened(Execution()), shapes(step=1)) < BOUND_BYTES


def test_runs_of_one_shape_leave_no_memory_behind(opened):
    assert growth(opened(Execution()), [(2, 20)] * (RUNS + WARM_UP)) < BOUND_BYTES


@pytest.mark.skipif(
    Provider.OPENVINO not in installed_providers(),
    reason="the OpenVINO build of ONNX Runtime is not installed (extra `openvino`)",
)
def test_runs_on_openvino_of_lengths_on_a_lattice_leave_no_memory_behind(opened):
    """It keeps kernels for each shape that it has seen: few shapes are a bound."""
    assert growth(opened(Execution(Provider.OPENVINO)), shapes(step=16)) < BOUND_BYTES
