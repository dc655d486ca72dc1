"""Sessions on the OpenVINO build of ONNX Runtime: `pip install -e '.[openvino]'` in an environment of its own."""

import threading

import numpy as np
import psutil
import pytest
from onnx import TensorProto, helper

from server.errors import InferenceFailed, ModelNotReady, RequestCancelled
from server.runtime.precision import measure_error
from server.runtime.providers import (
    ONE_THREAD,
    Execution,
    Provider,
    choose_execution,
    installed_providers,
    processor_has_bf16,
)
from server.runtime.session import RunStop, Session
from tests.support.artifacts import external_graph, graph_bytes, identity_graph, linear_graph
from tests.support.graphs import counting_graph, write_version

pytestmark = pytest.mark.skipif(
    Provider.OPENVINO not in installed_providers(),
    reason="the OpenVINO build of ONNX Runtime is not installed (extra `openvino`)",
)
with_bf16 = pytest.mark.skipif(not processor_has_bf16(), reason="this processor has neither avx512_bf16 nor amx_bf16")

FP32 = Execution(Provider.OPENVINO, "fp32", threads=1, streams=2)
BF16 = Execution(Provider.OPENVINO, "bf16", threads=1, streams=2)


@pytest.fixture
def opened(tmp_path):
    sessions = []

    def open_bytes(content, execution=FP32):
        path = tmp_path / "model.onnx"
        path.write_bytes(content)
        sessions.append(Session.open(path, execution=execution))
        return sessions[-1]

    yield open_bytes
    for session in sessions:
        session.close()


def some_rows(count=8, width=64, seed=0):
    return np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)


def test_the_whole_graph_runs_on_openvino(opened, caplog):
    session = opened(linear_graph())
    assert session.provider == "OpenVINOExecutionProvider"
    assert (session.execution, session.cpu_share) == (FP32, 0.0)
    assert caplog.text == ""


def test_fp32_answers_as_the_cpu_does(opened):
    rows = {"x": some_rows()}
    graph = linear_graph(width=64, classes=64)
    error = measure_error([opened(graph).run(rows)], [opened(graph, ONE_THREAD).run(rows)])
    assert error.max_error < 1e-4


@with_bf16
def test_bf16_is_near_fp32_and_not_the_same(opened):
    execution = choose_execution("bf16", threads=1, streams=2)
    assert execution == BF16
    rows = {"x": some_rows()}
    graph = linear_graph(width=64, classes=64)
    error = measure_error([opened(graph, execution).run(rows)], [opened(graph, ONE_THREAD).run(rows)])
    assert 1e-4 < error.max_error < 0.5
    assert error.min_cosine > 0.9999


@with_bf16
def test_an_answer_in_bf16_is_the_same_every_time(opened):
    session = opened(linear_graph(width=64, classes=64), BF16)
    first = session.run({"x": some_rows()})["logits"]
    assert all(np.array_equal(session.run({"x": some_rows()})["logits"], first) for _ in range(20))


def test_external_data_is_found_beside_the_file(opened, tmp_path):
    (tmp_path / "weights.bin").write_bytes(np.arange(4, dtype=np.float32).tobytes())
    session = opened(external_graph("weights.bin", 4))
    assert session.execution == FP32
    assert session.run({"x": np.zeros((1, 4), np.float32)})["y"].tolist() == [[0, 1, 2, 3]]


def test_what_openvino_cannot_take_runs_on_the_cpu_and_is_told(opened, caplog):
    session = opened(
        graph_bytes(
            [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Unique", ["h"], ["y"])],
            {"x": (TensorProto.FLOAT, ("n", 2))},
            {"y": (TensorProto.FLOAT, ("m",))},
            {"w": np.eye(2, dtype=np.float32)},
        )
    )
    assert session.cpu_share == 0.5
    assert session.provider == "OpenVINOExecutionProvider"
    assert "the CPU provider runs 50% of the nodes, openvino the rest" in caplog.text
    assert session.run({"x": np.array([[2, 1], [1, 2]], np.float32)})["y"].tolist() == [1, 2]


@pytest.mark.parametrize("element_type", [TensorProto.STRING, TensorProto.DOUBLE])
def test_a_graph_of_which_openvino_takes_nothing_says_that_the_cpu_runs_it(opened, element_type):
    session = opened(identity_graph(element_type), BF16)
    assert session.cpu_share == 1.0
    assert session.execution == Execution(Provider.CPU, "fp32", threads=1, streams=2)
    assert session.provider == "CPUExecutionProvider"


def test_a_graph_that_openvino_fails_to_compile_is_refused_without_its_text(tmp_path, capfd):
    folder = write_version(tmp_path, "counting", 1, counting_graph())
    with pytest.raises(ModelNotReady) as raised:
        Session.open(folder / "model.onnx", execution=FP32)
    assert raised.value.message == "the openvino provider refused model.onnx; its reason is in the log"
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("inputs", [{}, {"x": np.zeros((1, 5), np.float32)}, {"x": np.zeros((1, 4), np.float64)}])
def test_input_that_the_runtime_refuses_fails_with_a_fixed_text(opened, capfd, inputs):
    with pytest.raises(InferenceFailed, match="failed on this input"):
        opened(linear_graph()).run(inputs)
    assert capfd.readouterr() == ("", "")


def test_a_token_outside_the_vocabulary_reads_as_zeros(opened):
    """OpenVINO fails on no index; ONNX Runtime's own kernels do."""
    session = opened(
        graph_bytes(
            [helper.make_node("Gather", ["table", "x"], ["y"])],
            {"x": (TensorProto.INT64, ("n",))},
            {"y": (TensorProto.FLOAT, ("n",))},
            {"table": np.ones(3, np.float32)},
        )
    )
    assert session.run({"x": np.array([2, 3, 10**9, -(10**9)])})["y"].tolist() == [1, 0, 0, 0]


def test_a_run_that_is_stopped_before_it_begins_is_cancelled(opened):
    session, stop = opened(linear_graph()), RunStop()
    stop.stop()
    with pytest.raises(RequestCancelled):
        session.run({"x": np.zeros((1, 4), np.float32)}, stop=stop)
    assert session.run({"x": np.zeros((1, 4), np.float32)})["logits"].tolist() == [[0, 0, 0]]


def test_a_run_that_is_stopped_while_it_goes_on_is_cancelled_when_it_is_done(opened):
    """OpenVINO has no way to end it earlier; its answer is dropped."""
    session, stop = opened(linear_graph(width=2048, classes=2048)), RunStop()

    def run_until_stopped():
        while True:  # the stop comes during some run, or between two
            session.run({"x": np.zeros((512, 2048), np.float32)}, stop=stop)

    threading.Timer(0.0, stop.stop).start()
    with pytest.raises(RequestCancelled):
        run_until_stopped()


def test_runs_of_several_threads_do_not_mix(opened):
    session = opened(linear_graph())
    single = {n: session.run({"x": np.full((1, 4), n, np.float32)})["logits"] for n in range(8)}
    wrong = []

    def run(number):
        for _ in range(50):
            if not np.array_equal(session.run({"x": np.full((1, 4), number, np.float32)})["logits"], single[number]):
                wrong.append(number)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_closing_gives_the_memory_back(tmp_path):
    path = tmp_path / "large.onnx"
    path.write_bytes(linear_graph(width=3600, classes=3600))  # 50 MB of weights
    process = psutil.Process()

    def open_run_close():
        session = Session.open(path, execution=FP32)
        session.run({"x": np.zeros((2, 3600), np.float32)})
        held = process.memory_info().rss
        session.close()
        return held

    open_run_close()
    before = process.memory_info().rss
    held = [open_run_close() for _ in range(4)]
    assert min(held) - before > 40e6
    assert process.memory_info().rss - before < 25e6
