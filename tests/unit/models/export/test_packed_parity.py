from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from models.export.bundle import read_candidate
from models.export.cases import sample_rows, unseen_lengths
from models.export.packed_parity import MOST_TOKENS, measure_packed, packed_mixes
from models.export.packing import packed_tokens
from models.export.report import failed_outputs
from server.manifest import GraphSpec
from server.packed import PACKED_LAYOUTS
from server.runtime.session import Session


@pytest.fixture
def model():
    return "areas"


@pytest.fixture
def mixes(trained, candidate):
    return packed_mixes(trained, sample_rows(trained, candidate), seed=5)


@pytest.fixture(params=PACKED_LAYOUTS)
def graph(request, candidate):
    return next(graph for graph in read_candidate(candidate).graphs if graph.layout == request.param)


def measured(trained, candidate, graph, mixes):
    session = Session.open(candidate / graph.file)
    try:
        return measure_packed(trained, graph, session, mixes)
    finally:
        session.close()


def set_constants(path, old, new):
    """Replaces a number wherever a graph holds it by itself; a graph without it is a mistake of the test."""
    model = onnx.load(path)
    tensors = [*model.graph.initializer, *(a.t for n in model.graph.node for a in n.attribute if a.HasField("t"))]
    found = 0
    for tensor in tensors:
        array = numpy_helper.to_array(tensor)
        if array.dtype == np.float32 and array.size == 1 and array.item() == np.float32(old):
            tensor.CopyFrom(numpy_helper.from_array(np.full_like(array, new), tensor.name))
            found += 1
    assert found
    onnx.save(model, path)


def test_mixes_hold_every_unseen_length_single_tokens_hidden_ones_and_empty_rows(trained, mixes):
    inputs = trained.signature.inputs
    rows = [row for mix in mixes for row in mix.rows]
    lengths = {row["input_ids"].shape[1] for row in rows}
    assert set(unseen_lengths(inputs)) <= lengths
    assert 1 in lengths
    masks = [row["mask"][0] for row in rows]
    assert any(not mask.any() for mask in masks)
    assert any(mask[0] and mask[-1] and not mask.all() for mask in masks)
    assert any(len(mix.rows) == 1 for mix in mixes)
    assert all(len(mix.rows) == 1 or packed_tokens(mix.rows, inputs) <= MOST_TOKENS for mix in mixes)


def test_mixes_are_the_same_for_the_same_seed(trained, candidate, mixes):
    again = packed_mixes(trained, sample_rows(trained, candidate), seed=5)
    assert [[row["input_ids"].tolist() for row in mix.rows] for mix in again] == [
        [row["input_ids"].tolist() for row in mix.rows] for mix in mixes
    ]


def test_packed_graph_is_within_the_tolerance_and_the_report_says_what_was_run(trained, candidate, graph, mixes):
    report = measured(trained, candidate, graph, mixes)
    assert (report.file, report.tolerance) == (graph.file, graph.tolerance)
    assert [parity.output for parity in report.outputs] == ["logits"]
    assert failed_outputs(report) == ()
    assert report.rows == tuple(sorted({len(mix.rows) for mix in mixes}))
    assert max(report.tokens) > 64


def test_graph_in_which_rows_attend_to_each_other_fails(trained, candidate, graph, mixes):
    """Without the bias on the scores every token sees every other, or the places where none stands."""
    set_constants(candidate / graph.file, -1e9, 0.0)
    assert failed_outputs(measured(trained, candidate, graph, mixes)) == ("logits",)


def test_another_network_fails(trained, candidate, graph, mixes):
    wrong = [replace(mix, expected=mix.expected[::-1]) for mix in mixes]
    assert failed_outputs(measured(trained, candidate, graph, wrong)) == ("logits",)


def test_graph_over_padded_rows_is_no_packed_one(trained, candidate, mixes):
    with pytest.raises(ValueError, match=r"model\.onnx takes padded rows"):
        measured(trained, candidate, GraphSpec(file="model.onnx", opset=20), mixes)
