import gc
import hashlib
import threading
from types import MappingProxyType

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from server.errors import ArtifactCorrupt, InferenceFailed, RequestCancelled, UndecodableInput
from server.runtime.providers import ONE_THREAD, Execution
from server.runtime.session import GraphTensor, RunStop, Session
from server.tensors import NUMPY_DTYPES, Datatype, Tensor
from tests.support.artifacts import external_graph, graph_bytes, identity_graph, linear_graph
from tests.support.graphs import counting_graph, write_version

ELEMENT_TYPES = {
    Datatype.BOOL: TensorProto.BOOL,
    Datatype.UINT8: TensorProto.UINT8,
    Datatype.UINT16: TensorProto.UINT16,
    Datatype.UINT32: TensorProto.UINT32,
    Datatype.UINT64: TensorProto.UINT64,
    Datatype.INT8: TensorProto.INT8,
    Datatype.INT16: TensorProto.INT16,
    Datatype.INT32: TensorProto.INT32,
    Datatype.INT64: TensorProto.INT64,
    Datatype.FP16: TensorProto.FLOAT16,
    Datatype.BF16: TensorProto.BFLOAT16,
    Datatype.FP32: TensorProto.FLOAT,
    Datatype.FP64: TensorProto.DOUBLE,
    Datatype.BYTES: TensorProto.STRING,
}


@pytest.fixture
def opened(tmp_path):
    """Opens a graph from bytes, and closes it after the test."""
    sessions = []

    def open_bytes(content, **options):
        path = tmp_path / "model.onnx"
        path.write_bytes(content)
        sessions.append(Session.open(path, **options))
        return sessions[-1]

    yield open_bytes
    for session in sessions:
        session.close()


def some_values(datatype, rows=2):
    if datatype is Datatype.BYTES:
        array = np.empty((rows, 3), dtype=object)
        for row in array:
            row[:] = ["é".encode(), b"", b"a\0b"]
        return array
    return np.arange(rows * 3).reshape(rows, 3).astype(NUMPY_DTYPES[datatype])


@pytest.mark.parametrize("datatype", Datatype)
@pytest.mark.parametrize("rows", [2, 0])
def test_every_datatype_passes_through_a_graph_unchanged(opened, datatype, rows):
    session = opened(identity_graph(ELEMENT_TYPES[datatype]))
    given_values = some_values(datatype, rows)
    answer = session.run({"x": given_values})["y"]
    assert session.inputs == (GraphTensor("x", datatype, ("batch", None)),)
    assert Tensor(datatype, answer).shape == (rows, 3)
    assert answer.tolist() == given_values.tolist()


def test_arrays_that_are_not_contiguous_keep_their_order(opened):
    for kind in (TensorProto.FLOAT, TensorProto.BFLOAT16):
        values = np.arange(6).reshape(2, 3).astype(np.float32 if kind == TensorProto.FLOAT else np.uint16)[:, ::-1]
        assert opened(identity_graph(kind)).run({"x": values})["y"].tolist() == values.tolist()


def test_bf16_scalar_keeps_its_rank(opened):
    session = opened(identity_graph(TensorProto.BFLOAT16, shape=()))
    assert session.run({"x": np.array(0x3F80, dtype=np.uint16)})["y"].shape == ()


def test_bf16_beside_numbers_answers_both(opened):
    names = {"a": TensorProto.BFLOAT16, "c": TensorProto.FLOAT}
    answers = opened(_identities(names)).run({"a": np.array([1, 2], np.uint16), "c": np.array([1.5, 2.5], np.float32)})
    assert {name: array.tolist() for name, array in answers.items()} == {"a2": [1, 2], "c2": [1.5, 2.5]}


def test_bf16_beside_text_inputs_is_refused_when_opened(opened):
    with pytest.raises(ArtifactCorrupt, match="BF16 beside BYTES"):
        opened(_identities({"a": TensorProto.BFLOAT16, "b": TensorProto.STRING}))


def _identities(names):
    return graph_bytes(
        [helper.make_node("Identity", [name], [f"{name}2"]) for name in names],
        {name: (kind, ("n",)) for name, kind in names.items()},
        {f"{name}2": (kind, ("n",)) for name, kind in names.items()},
    )


def test_bf16_is_computed_as_bf16(opened):
    session = opened(
        graph_bytes(
            [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)],
            {"x": (TensorProto.BFLOAT16, ("n",))},
            {"y": (TensorProto.FLOAT, ("n",))},
        )
    )
    assert session.run({"x": np.array([0x3F80, 0x4000], dtype=np.uint16)})["y"].tolist() == [1.0, 2.0]


def test_only_the_named_outputs_come_back_in_their_order(opened):
    session = opened(
        graph_bytes(
            [helper.make_node("Identity", ["x"], ["y"]), helper.make_node("Neg", ["x"], ["z"])],
            {"x": (TensorProto.FLOAT, ("n",))},
            {"y": (TensorProto.FLOAT, ("n",)), "z": (TensorProto.FLOAT, ("n",))},
        )
    )
    values = np.array([1], np.float32)
    assert list(session.run({"x": values}, ["z"])) == ["z"]
    assert list(session.run({"x": values}, ["z", "y"])) == ["z", "y"]
    assert session.run({"x": values}, []) == {}
    assert list(session.run({"x": values})) == ["y", "z"]


def test_signature_provider_and_opset_are_the_graphs(opened):
    session = opened(linear_graph())
    assert session.inputs == (GraphTensor("x", Datatype.FP32, ("batch", 4)),)
    assert session.outputs == (GraphTensor("logits", Datatype.FP32, ("batch", 3)),)
    assert session.provider == "CPUExecutionProvider"
    assert (session.execution, session.cpu_share) == (ONE_THREAD, 1.0)
    assert session.opset == 17


@pytest.mark.parametrize(
    "inputs",
    [
        {},
        {"unknown": np.zeros((1, 4), np.float32)},
        {"x": np.zeros((1, 4), np.float64)},
        {"x": np.zeros((1, 5), np.float32)},
        {"x": np.zeros(4, np.float32)},
    ],
)
def test_input_that_the_runtime_refuses_fails_with_a_fixed_text(opened, capfd, inputs):
    session = opened(linear_graph())
    with pytest.raises(InferenceFailed) as raised:
        session.run(inputs)
    assert raised.value.message == "the model failed on this input; the cause is in the server's log"
    assert capfd.readouterr() == ("", "")


def test_failure_inside_the_graph_reaches_the_log_and_not_the_caller(opened, caplog, capfd):
    session = opened(
        graph_bytes(
            [helper.make_node("Gather", ["table", "x"], ["y"])],
            {"x": (TensorProto.INT64, ("n",))},
            {"y": (TensorProto.FLOAT, ("n",))},
            {"table": np.zeros(3, np.float32)},
        )
    )
    with pytest.raises(InferenceFailed) as raised:
        session.run({"x": np.array([77])})
    assert "77" not in raised.value.message
    assert "idx=77" in caplog.text
    assert capfd.readouterr().err == ""
    assert session.run({"x": np.array([1])})["y"].tolist() == [0]


def test_unknown_output_fails(opened):
    with pytest.raises(InferenceFailed):
        opened(linear_graph()).run({"x": np.zeros((1, 4), np.float32)}, ["nothing"])


def test_text_that_is_not_utf8_is_undecodable(opened):
    session = opened(identity_graph(TensorProto.STRING))
    with pytest.raises(UndecodableInput):
        session.run({"x": np.array([[b"\xff"]], dtype=object)})


def test_runs_of_several_threads_do_not_mix(opened):
    session = opened(linear_graph())
    single = {n: session.run({"x": np.full((1, 4), n, np.float32)})["logits"] for n in range(8)}
    wrong = []

    def run(number):
        for _ in range(50):
            answer = session.run({"x": np.full((1, 4), number, np.float32)})["logits"]
            if not np.array_equal(answer, single[number]):
                wrong.append(number)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_closed_session_fails_and_closes_again(opened):
    session = opened(linear_graph())
    session.close()
    session.close()
    with pytest.raises(InferenceFailed, match="closed"):
        session.run({"x": np.zeros((1, 4), np.float32)})


def test_stopped_run_fails_and_the_session_runs_on(tmp_path):
    folder = write_version(tmp_path, "counting", 1, counting_graph())
    session = Session.open(folder / "model.onnx")
    failures = []

    def count_for_hours():
        try:
            session.run({"steps": np.array([[10**12]])})
        except InferenceFailed as error:
            failures.append(error)

    thread = threading.Thread(target=count_for_hours, daemon=True)
    thread.start()
    while thread.is_alive():  # a stop that comes before the run has begun stops nothing
        session.stop_runs()
        thread.join(timeout=0.01)
    assert len(failures) == 1
    assert session.run({"steps": np.array([[3]])})["counts"].tolist() == [[3]]
    session.close()


@pytest.fixture
def counting(tmp_path):
    session = Session.open(write_version(tmp_path, "counting", 1, counting_graph()) / "model.onnx")
    yield session
    session.close()


FOR_HOURS = {"steps": np.array([[10**12]])}


def start_counting(session, stop, ends):
    """Counts for hours in a thread; what ends it is appended."""

    def count():
        try:
            session.run(FOR_HOURS, stop=stop)
        except RequestCancelled as error:
            ends.append(error.message)

    thread = threading.Thread(target=count, daemon=True)
    thread.start()
    return thread


def test_a_run_that_is_stopped_is_cancelled_alone(counting):
    stops, ends = [RunStop(), RunStop()], ([], [])
    threads = [start_counting(counting, stop, end) for stop, end in zip(stops, ends, strict=True)]
    stops[0].stop()
    threads[0].join()
    assert ends == (["the run was stopped"], [])
    assert threads[1].is_alive()
    stops[1].stop()
    threads[1].join()
    assert counting.run({"steps": np.array([[3]])})["counts"].tolist() == [[3]]


def test_a_run_that_is_stopped_before_it_begins_never_begins(counting, caplog):
    stop = RunStop()
    stop.stop()
    stop.stop()
    with pytest.raises(RequestCancelled):
        counting.run(FOR_HOURS, stop=stop)
    assert stop.stopped
    assert caplog.text == ""


def test_a_stop_after_the_run_changes_nothing(counting):
    stop = RunStop()
    assert counting.run({"steps": np.array([[3]])}, stop=stop)["counts"].tolist() == [[3]]
    stop.stop()
    assert counting.run({"steps": np.array([[4]])})["counts"].tolist() == [[4]]


def test_input_that_fails_is_not_taken_for_a_stopped_run(opened):
    with pytest.raises(InferenceFailed):
        opened(linear_graph()).run({}, stop=RunStop())


def test_inputs_may_be_any_mapping(opened):
    values = MappingProxyType({"x": np.ones((1, 3), np.float32)})
    assert opened(identity_graph()).run(values)["y"].tolist() == [[1, 1, 1]]


def test_one_thread_a_run_starts_no_threads(opened):
    before = psutil.Process().num_threads()
    opened(linear_graph(), execution=Execution(threads=1))
    assert psutil.Process().num_threads() == before


# --- what cannot be opened ------------------------------------------------------------------------------------------


def test_file_that_changed_since_it_was_hashed_is_refused(opened):
    content = linear_graph()
    opened(content, sha256=hashlib.sha256(content).hexdigest())
    with pytest.raises(ArtifactCorrupt, match="changed"):
        opened(linear_graph(seed=1), sha256=hashlib.sha256(content).hexdigest())


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(ArtifactCorrupt, match="cannot be read"):
        Session.open(tmp_path / "none.onnx")


def test_graph_with_an_unknown_operator_is_refused_without_the_runtimes_text(opened, capfd):
    content = graph_bytes(
        [helper.make_node("Frobnicate", ["x"], ["y"])],
        {"x": (TensorProto.FLOAT, ("n",))},
        {"y": (TensorProto.FLOAT, ("n",))},
    )
    with pytest.raises(ArtifactCorrupt) as raised:
        opened(content)
    assert "Frobnicate" not in raised.value.message
    assert capfd.readouterr() == ("", "")


def test_outputs_that_are_maps_are_refused_by_name(opened):
    """As scikit-learn's converter makes them: probabilities as a sequence of dictionaries."""
    zipmap = helper.make_node("ZipMap", ["x"], ["probabilities"], domain="ai.onnx.ml", classlabels_int64s=[0, 1])
    map_type = helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, None))
    output = helper.make_value_info("probabilities", helper.make_sequence_type_proto(map_type))
    graph = helper.make_graph(
        [zipmap], "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])], [output]
    )
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    with pytest.raises(ArtifactCorrupt, match="probabilities is a seq"):
        opened(helper.make_model(graph, opset_imports=imports, ir_version=8).SerializeToString())


def test_element_type_that_no_protocol_carries_is_refused_by_name(opened):
    content = graph_bytes(
        [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT8E4M3FN)],
        {"x": (TensorProto.FLOAT, ("n",))},
        {"y": (TensorProto.FLOAT8E4M3FN, ("n",))},
        opset=19,
    )
    with pytest.raises(ArtifactCorrupt, match="output y is a tensor"):
        opened(content)


def test_names_that_are_not_utf8_are_refused(opened):
    content = identity_graph().replace(b"\x01x", b"\x01\x80")
    with pytest.raises(ArtifactCorrupt, match="UTF-8"):
        opened(content)


def test_external_data_is_found_beside_the_file(opened, tmp_path):
    (tmp_path / "weights.bin").write_bytes(np.arange(4, dtype=np.float32).tobytes())
    session = opened(external_graph("weights.bin", 4))
    assert session.run({"x": np.zeros((1, 4), np.float32)})["y"].tolist() == [[0, 1, 2, 3]]


def test_missing_external_data_is_refused(opened):
    with pytest.raises(ArtifactCorrupt):
        opened(external_graph("weights.bin", 4))


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damaged_file_is_refused_or_opened_never_worse(tmp_path_factory, data):
    content = bytearray(linear_graph())
    for position in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=8)):
        content[position] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.onnx"
    path.write_bytes(content)
    try:
        Session.open(path).close()
    except ArtifactCorrupt:
        return


def test_closing_gives_the_memory_back(tmp_path):
    path = tmp_path / "large.onnx"
    path.write_bytes(linear_graph(width=3600, classes=3600))  # 50 MB of weights
    process = psutil.Process()

    def open_run_close():
        session = Session.open(path)
        session.run({"x": np.zeros((2, 3600), np.float32)})
        held = process.memory_info().rss
        session.close()
        gc.collect()
        return held

    open_run_close()
    before = process.memory_info().rss
    held = [open_run_close() for _ in range(6)]
    after = process.memory_info().rss
    assert min(held) - before > 40e6
    assert after - before < 25e6


def test_open_session_holds_its_weights_once(tmp_path):
    path = tmp_path / "large.onnx"
    path.write_bytes(linear_graph(width=3600, classes=3600))
    process = psutil.Process()
    Session.open(path).close()
    before = process.memory_info().rss
    session = Session.open(path)
    grown = process.memory_info().rss - before
    session.close()
    # Once as they are, once more packed for the matrix product; the file's own bytes are not kept.
    assert grown < 2.6 * path.stat().st_size


def test_no_datatype_is_left_untested():
    assert set(ELEMENT_TYPES) == set(Datatype)
