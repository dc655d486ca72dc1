import numpy as np
import pytest

from server.batching.variant import BatchLimits
from server.errors import ArtifactCorrupt, RequestCancelled
from server.loading.threads import ThreadPlan
from server.loading.variants import Opener, check_signature, graphs_of
from server.manifest import FixedAxis, GraphSpec, InputSpec, Manifest, OutputSpec, RowAxis
from server.runtime.session import GraphTensor, Session
from server.store.bundle import open_bundle
from server.tensors import Datatype
from tests.support.graphs import doubling_graph, write_version
from tests.support.sums_bundle import GRAPHS, block_diagonal_graph, gathered_graph, publish_sums, rows_graph

X = InputSpec(name="x", datatype=Datatype.FP32, axes=(RowAxis(), FixedAxis(size=2)))
Y = OutputSpec(name="y", datatype=Datatype.FP32, axes=(RowAxis(), FixedAxis(size=2)))
RUN = GraphSpec(file="model.onnx", opset=20)
BLOCK = GraphSpec(file="block.onnx", layout="block-diagonal", opset=20)
GATHERED = GraphSpec(file="gathered.onnx", layout="gathered", opset=20)
INT8 = GraphSpec(file="int8.onnx", precision="int8", opset=20)
LIMITS = BatchLimits(64, 1024)


def manifest(*graphs: GraphSpec, inputs=(X,), outputs=(Y,)) -> Manifest:
    return Manifest(name="m", task="tensors", graphs=graphs, inputs=inputs, outputs=outputs)


@pytest.fixture
def session(tmp_path):
    opened = Session.open(write_version(tmp_path, "m", 1, doubling_graph()) / "model.onnx")
    yield opened
    opened.close()


def opened(store, file, plan=ThreadPlan(1, 1), cores=1):  # noqa: B008
    bundle = open_bundle(store, "sums", 1, max_bytes=2**20)
    return Opener(bundle, LIMITS, cores).open(GRAPHS[file], "fp32", plan)


# --- which graphs -----------------------------------------------------------------------------------------------------


def test_the_graph_in_rows_comes_first_whatever_their_order():
    assert graphs_of(manifest(GATHERED, INT8, BLOCK, RUN), "fp32")[0] is RUN


def test_fp32_has_its_packed_graphs_and_no_others():
    assert set(map(id, graphs_of(manifest(GATHERED, INT8, BLOCK, RUN), "fp32"))) == set(map(id, (RUN, BLOCK, GATHERED)))


def test_int8_has_graphs_of_its_own():
    assert graphs_of(manifest(RUN, INT8), "int8") == [INT8]


def test_bf16_runs_the_fp32_graphs_that_have_few_shapes():
    """Its provider prepares kernels for each shape, and gathered runs have three sizes."""
    assert graphs_of(manifest(RUN, BLOCK, GATHERED, INT8), "bf16") == [RUN, BLOCK]


def test_without_a_graph_in_rows_a_precision_has_none():
    assert graphs_of(manifest(BLOCK, INT8), "fp32") == []


# --- opening ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "content", "name"),
    [
        ("model.onnx", rows_graph(), "rows/fp32"),
        ("block.onnx", block_diagonal_graph(), "block-diagonal/fp32"),
        ("gathered.onnx", gathered_graph(), "gathered/fp32"),
    ],
)
def test_a_graph_is_opened_in_its_layout(tmp_path, file, content, name):
    publish_sums(tmp_path, {file: content})
    one = opened(tmp_path, file)
    assert (one.variant.name, one.variant.graph) == (name, file)
    assert (one.variant.outputs, one.variant.usual_outputs) == ({"sum"}, ("sum",))
    assert one.variant.provider == "CPUExecutionProvider"
    one.close()


def test_packed_runs_are_padded_to_few_sizes_and_rows_to_their_longest(tmp_path):
    publish_sums(tmp_path, {"model.onnx": rows_graph(), "block.onnx": block_diagonal_graph()})
    rows, block = opened(tmp_path, "model.onnx"), opened(tmp_path, "block.onnx")
    assert rows.variant.layout.lattice.points == ()
    assert 0 < len(block.variant.layout.lattice.points) < 128
    rows.close()
    block.close()


def test_several_sessions_answer_as_one(tmp_path):
    publish_sums(tmp_path)
    one = opened(tmp_path, "model.onnx", ThreadPlan(1, 3), cores=3)
    assert len(one.sessions) == 3
    inputs = {"ids": np.array([[1, 2]]), "mask": np.ones((1, 2), np.bool_)}
    assert {float(one.variant.run(inputs, ("sum",), None)["sum"][0, 0]) for _ in range(5)} == {3.0}
    one.close()


def test_threads_of_a_run_are_the_plans(tmp_path):
    publish_sums(tmp_path)
    one = opened(tmp_path, "model.onnx", ThreadPlan(2, 1), cores=2)
    assert (one.variant.threads, one.sessions[0].execution.threads) == (2, 2)
    one.close()


def test_a_run_can_be_ended(tmp_path):
    publish_sums(tmp_path)
    one = opened(tmp_path, "model.onnx")
    stop = one.variant.make_stop()
    stop.stop()
    inputs = {"ids": np.array([[1, 2]]), "mask": np.ones((1, 2), np.bool_)}
    with pytest.raises(RequestCancelled, match="stopped"):
        one.variant.run(inputs, ("sum",), stop)
    assert one.variant.run(inputs, ("sum",), None)["sum"].tolist() == [[3.0]]
    one.close()


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("block.onnx", gathered_graph(), "is block-diagonal, but its inputs are not ids, packed_positions"),
        ("gathered.onnx", rows_graph(), "is gathered, but its inputs are not"),
        ("model.onnx", block_diagonal_graph(), "'ids' has rank 1 in the graph, 2 in the manifest"),
    ],
)
def test_a_graph_of_another_layout_than_it_says_is_refused(tmp_path, file, content, says):
    publish_sums(tmp_path, {file: content})
    with pytest.raises(ArtifactCorrupt, match=says):
        opened(tmp_path, file)


def test_sessions_of_a_refused_graph_are_closed(tmp_path, monkeypatch):
    closed = []
    monkeypatch.setattr(Session, "close", lambda session: closed.append(session))
    publish_sums(tmp_path, {"block.onnx": gathered_graph()})
    with pytest.raises(ArtifactCorrupt):
        opened(tmp_path, "block.onnx", ThreadPlan(1, 2))
    assert len(closed) == 2


# --- signatures -------------------------------------------------------------------------------------------------------


def test_a_manifest_that_fits_its_graph_passes(session):
    check_signature(manifest(RUN), session)
    assert session.inputs == (GraphTensor("x", Datatype.FP32, ("rows", "width")),)
    assert session.run({"x": np.ones((1, 2), np.float32)})["y"].tolist() == [[2.0, 2.0]]


@pytest.mark.parametrize(
    ("inputs", "outputs", "says"),
    [
        ((X.model_copy(update={"name": "z"}),), (Y,), "has input 'z', the graph has not"),
        ((X,), (Y.model_copy(update={"name": "z"}),), "has output 'z', the graph has not"),
        ((X.model_copy(update={"datatype": Datatype.FP64}),), (Y,), "FP32 in the graph, FP64 in the manifest"),
        ((X.model_copy(update={"axes": (RowAxis(),)}),), (Y,), "rank 2 in the graph, 1 in the manifest"),
    ],
)
def test_a_manifest_that_does_not_fit_its_graph_is_refused(session, inputs, outputs, says):
    with pytest.raises(ArtifactCorrupt, match=says):
        check_signature(manifest(RUN, inputs=inputs, outputs=outputs), session)


def test_a_graph_with_inputs_that_the_manifest_lacks_is_refused(tmp_path):
    publish_sums(tmp_path)
    bundle = open_bundle(tmp_path, "sums", 1, max_bytes=2**20)
    session = Session.open(bundle.directory / "model.onnx")
    lacking = bundle.manifest.model_copy(update={"inputs": bundle.manifest.inputs[:1]})
    with pytest.raises(ArtifactCorrupt, match="that the manifest lacks: mask"):
        check_signature(lacking, session)
    session.close()
