import numpy as np
import pytest

from server.errors import ArtifactCorrupt
from server.loader import check_signature, serving_graph
from server.manifest import FixedAxis, GraphSpec, InputSpec, Manifest, OutputSpec, RowAxis
from server.runtime.session import GraphTensor, Session
from server.tensors import Datatype
from tests.support.graphs import doubling_graph, write_version

X = InputSpec(name="x", datatype=Datatype.FP32, axes=(RowAxis(), FixedAxis(size=2)))
Y = OutputSpec(name="y", datatype=Datatype.FP32, axes=(RowAxis(), FixedAxis(size=2)))


def manifest(*graphs: GraphSpec, inputs=(X,), outputs=(Y,)) -> Manifest:
    return Manifest(name="m", task="tensors", graphs=graphs, inputs=inputs, outputs=outputs)


RUN = GraphSpec(file="model.onnx", opset=20)


@pytest.fixture
def session(tmp_path):
    opened = Session.open(write_version(tmp_path, "m", 1, doubling_graph()) / "model.onnx")
    yield opened
    opened.close()


def test_the_plain_graph_in_rows_serves_whatever_other_variants_there_are():
    packed = GraphSpec(file="packed.onnx", layout="packed", opset=20)
    int8 = GraphSpec(file="int8.onnx", precision="int8", opset=20)
    assert serving_graph(manifest(packed, int8, RUN)) is RUN
    with pytest.raises(ArtifactCorrupt, match="no fp32 graph"):
        serving_graph(manifest(packed, int8))


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
