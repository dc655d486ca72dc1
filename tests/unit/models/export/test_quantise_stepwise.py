import shutil

import numpy as np
import onnx
import pytest

from models.export.bundle import read_candidate
from models.export.cases import sample_rows
from models.export.failure import PublishRefused
from models.export.gate import check_earned
from models.export.quantise_candidate import quantise_candidate
from models.export.quantise_compare import Comparison
from models.export.quantise_held_out import HeldOut
from models.export.quantise_stepwise import _held_out, compare_stepwise
from models.export.stepwise_cases import begin_text
from models.export.verify import verify_candidate
from models.networks.stepwise import TOKENS
from tests.support.generative import FAMILIES, written_candidate


@pytest.fixture(scope="module", params=FAMILIES)
def quantised(request, tmp_path_factory):
    """A candidate with int8 graphs, verified; and its training."""
    trained, bundle = written_candidate(request.param)
    bundle = shutil.copytree(bundle, tmp_path_factory.mktemp("int8") / "bundle")
    quantise_candidate(trained, bundle, without_quality=True)
    verify_candidate(trained, bundle)
    return trained, bundle


def test_each_graph_has_one_in_int8_that_was_measured_and_may_be_published(quantised):
    manifest = read_candidate(quantised[1])
    plain = [graph for graph in manifest.graphs if graph.precision == "fp32"]
    rounded = [graph for graph in manifest.graphs if graph.precision == "int8"]
    assert [graph.quantisation.source for graph in rounded] == [graph.file for graph in plain]
    assert [(graph.role, graph.maps) for graph in rounded] == [(graph.role, graph.maps) for graph in plain]
    assert all(graph.quantisation.max_error > 0 for graph in rounded)
    check_earned(manifest)


def test_tied_embeddings_stay_as_they_were_beside_the_output_in_int8(quantised):
    trained, bundle = quantised
    if trained.record.model == "tiny-recurrent":
        pytest.skip("its output layer is its own")
    model = onnx.load(bundle / "step.int8.onnx").graph
    looked_up = {node.input[0] for node in model.node if node.op_type == "Gather"}
    tables = [weight for weight in model.initializer if weight.name in looked_up and list(weight.dims) == [32, 16]]
    assert [table.data_type for table in tables] == [onnx.TensorProto.FLOAT]
    assert not any(node.op_type == "Gemm" for node in model.node)


def test_int8_graph_that_was_not_measured_on_its_outputs_is_refused(quantised):
    manifest = read_candidate(quantised[1])
    graphs = [
        graph.model_copy(update={"quantisation": graph.quantisation.model_copy(update={"parity": ()})})
        if graph.quantisation
        else graph
        for graph in manifest.graphs
    ]
    with pytest.raises(PublishRefused, match=r"did not measure (encode|step)\.int8\.onnx"):
        check_earned(manifest.model_copy(update={"graphs": tuple(graphs)}))


def test_held_out_texts_are_scored_by_what_the_graphs_write(quantised):
    trained, bundle = quantised
    manifest = read_candidate(bundle)
    manifest = manifest.model_copy(update={"graphs": tuple(g for g in manifest.graphs if g.precision == "fp32")})
    rows = tuple(begin_text(trained.signature, sample) for sample in sample_rows(trained, bundle))
    judged = HeldOut(rows, lambda answer, row: float(answer["logits"].shape[1] == row[TOKENS].shape[1]), "places")
    steps = [graph for graph in manifest.graphs if graph.role == "step"]

    def seen(source) -> Comparison:
        return compare_stepwise(
            trained, bundle, manifest, source, lambda file: file.replace(".onnx", ".int8.onnx"), judged
        )

    first = seen(steps[0])
    assert (first.rows, first.source_score, first.alone_score, first.batched_score) == (4, 4.0, 4.0, 4.0)
    assert [seen(graph).rows for graph in manifest.graphs if graph != steps[0]] == [0] * (len(manifest.graphs) - 1)


def test_held_out_texts_are_taken_in_order_as_far_as_the_bound_goes(monkeypatch):
    monkeypatch.setattr("models.export.quantise_stepwise.MOST_TOKENS", 50)
    rows = [{TOKENS: np.ones((1, 2), np.int64)} for _ in range(40)]
    assert [len(batch) for batch in _held_out(rows)] == [16]
