from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from models.data.digits import labelled_digits
from models.export import quantise_candidate as module
from models.export.bundle import read_candidate, write_manifest
from models.export.failure import CandidateUnusable, ParityFailed, PublishRefused, QuantisationRefused
from models.export.gate import check_earned
from models.export.quantise import quantise_graph
from models.export.quantise_candidate import quantise_candidate, steps
from models.export.verify import verify_candidate
from server.manifest import ImageCodecSpec, parse_manifest


@pytest.fixture
def on_digits(trained, model):
    """The tiny network for images, as if it had been trained on the real digits; its quality is that of chance."""
    assert model == "digits"
    codec = ImageCodecSpec(height=8, width=8, mode="L", mean=(0.5,), std=(0.5,), resample="box")
    record = trained.record.model_copy(update={"data": labelled_digits(0).provenance(), "seed": 0})
    return replace(trained, record=record, codec=codec)


def in_int8(manifest):
    return [graph for graph in manifest.graphs if graph.precision == "int8"]


def with_int8(manifest, **changes):
    """The manifest with other numbers in its first int8 graph."""
    graphs = [*manifest.graphs]
    place = next(index for index, graph in enumerate(graphs) if graph.precision == "int8")
    graphs[place] = graphs[place].model_copy(update=changes)
    return manifest.model_copy(update={"graphs": tuple(graphs)})


def off_by(amount):
    """A quantiser that also moves a bias of the last layer, so that one class wins more often than it should."""

    def quantise(source, target, weights=None):
        quantise_graph(source, target, weights)
        graph = onnx.load(target)
        bias = next(weight for weight in graph.graph.initializer if weight.name.endswith("head.bias"))
        moved = numpy_helper.to_array(bias) + np.float32(amount) * np.eye(1, bias.dims[0], dtype=np.float32)[0]
        bias.CopyFrom(numpy_helper.from_array(moved, bias.name))
        onnx.save(graph, target)

    return quantise


def test_every_fp32_graph_gets_one_in_int8_that_passes_verification_and_may_be_published(trained, candidate):
    said = []
    before = read_candidate(candidate)
    quantised = quantise_candidate(trained, candidate, without_quality=True, progress=said.append)
    assert len(said) == steps(before)
    assert read_candidate(candidate) == quantised == parse_manifest(quantised.to_json().encode())
    assert (quantised.parity, quantised.golden, quantised.files, quantised.precision) == (None, None, {}, "fp32")
    assert [graph.quantisation.source for graph in in_int8(quantised)] == [graph.file for graph in before.graphs]
    for source, graph in zip(before.graphs, in_int8(quantised), strict=True):
        report = graph.quantisation
        assert (graph.layout, graph.maps, graph.opset) == (source.layout, source.maps, source.opset)
        assert 0 < report.max_error < graph.tolerance
        assert report.batched_equals_alone_max_error < graph.tolerance
        assert 0.95 <= report.min_cosine <= 1
        assert report.quality is None
        assert (report.source_bytes, report.bytes) == tuple(
            (candidate / name).stat().st_size for name in (source.file, graph.file)
        )
    verify_candidate(trained, candidate)
    proven = read_candidate(candidate)
    for graph in in_int8(proven):
        assert all(one.max_error <= graph.tolerance for one in graph.quantisation.parity)
        assert graph.file in proven.files
    check_earned(proven)


def test_quantising_again_gives_the_same_and_leaves_nothing_behind(trained, candidate):
    first = quantise_candidate(trained, candidate, without_quality=True)
    there = {path.name for path in candidate.iterdir()}
    assert quantise_candidate(trained, candidate, without_quality=True) == first
    assert {path.name for path in candidate.iterdir()} == there
    by_default = quantise_candidate(trained, candidate, without_quality=True, by_default=True)
    assert by_default == first.model_copy(update={"precision": "int8"})
    assert [path.name for path in candidate.parent.iterdir()] == ["bundle"]


@pytest.mark.parametrize("model", ["digits"])
def test_quality_is_measured_on_the_held_out_split_in_fp32_and_int8(on_digits, candidate):
    (graph,) = in_int8(quantise_candidate(on_digits, candidate, largest_drop=1.0))
    quality = graph.quantisation.quality
    assert (quality.metric, quality.examples, quality.largest_drop) == ("accuracy", 359, 1.0)
    assert 0 < quality.source_value < 0.5  # chance, or so
    assert quality.value == pytest.approx(quality.source_value, abs=0.2)


@pytest.mark.parametrize("model", ["digits"])
def test_drop_above_the_bound_is_refused_with_what_was_measured_and_the_candidate_stays(
    on_digits, candidate, monkeypatch
):
    monkeypatch.setattr(module, "quantise_graph", off_by(-1000.0))
    before = {path.name: path.read_bytes() for path in candidate.iterdir()}
    with pytest.raises(QuantisationRefused, match=r"a drop of 0\.\d+, where 0\.0010 is allowed") as refusal:
        quantise_candidate(on_digits, candidate, largest_drop=0.001)
    assert len(refusal.value.measured) == 1
    assert {path.name: path.read_bytes() for path in candidate.iterdir()} == before
    assert [path.name for path in candidate.parent.iterdir()] == ["bundle"]


@pytest.mark.parametrize("model", ["digits"])
def test_answer_in_another_direction_is_refused_whatever_the_quality(trained, candidate, monkeypatch):
    monkeypatch.setattr(module, "quantise_graph", off_by(-1000.0))
    with pytest.raises(QuantisationRefused, match=r"answers in another direction than model\.onnx: cosine"):
        quantise_candidate(trained, candidate, without_quality=True)


@pytest.mark.parametrize("model", ["digits"])
def test_quality_that_cannot_be_measured_is_refused_with_the_way_to_do_without(trained, on_digits, candidate):
    with pytest.raises(QuantisationRefused, match="is not the one that serves its training's data"):
        quantise_candidate(replace(on_digits, codec=trained.codec), candidate)
    changed = on_digits.record.data.model_copy(update={"fingerprint": "1" * 64})
    on_other = replace(on_digits, record=on_digits.record.model_copy(update={"data": changed}))
    with pytest.raises(QuantisationRefused, match=r"examples changed since.*--without-quality"):
        quantise_candidate(on_other, candidate)
    without = replace(on_digits, record=on_digits.record.model_copy(update={"quality": None}))
    with pytest.raises(QuantisationRefused, match=r"no held-out quality to lose: with --without-quality"):
        quantise_candidate(without, candidate)


def test_missing_candidate_is_named_with_the_command_that_makes_one(trained, tmp_path):
    with pytest.raises(CandidateUnusable, match=r"python -m models export"):
        quantise_candidate(trained, tmp_path / "nothing")


@pytest.mark.parametrize("model", ["digits"])
def test_verification_refuses_a_tolerance_that_would_pass_anything(trained, candidate):
    manifest = quantise_candidate(trained, candidate, without_quality=True)
    write_manifest(candidate, with_int8(manifest, tolerance=1000.0))
    with pytest.raises(CandidateUnusable, match=r"tolerance of 1e\+03; above .* it proves nothing"):
        verify_candidate(trained, candidate)
    write_manifest(candidate, with_int8(manifest, quantisation=None))
    with pytest.raises(CandidateUnusable, match="does not say what it lost"):
        verify_candidate(trained, candidate)


def test_verification_refuses_an_int8_graph_that_is_further_off_than_its_tolerance(trained, candidate):
    manifest = quantise_candidate(trained, candidate, without_quality=True)
    graph = in_int8(manifest)[-1]
    off_by(3 * graph.tolerance)(candidate / graph.quantisation.source, candidate / graph.file)
    with pytest.raises(ParityFailed, match=rf"{graph.file} differs from PyTorch by up to .*in logits"):
        verify_candidate(trained, candidate)
    assert read_candidate(candidate).parity is None


@pytest.mark.parametrize("model", ["digits"])
def test_bundle_is_not_published_with_an_int8_graph_that_has_not_earned_it(on_digits, candidate):
    quantise_candidate(on_digits, candidate, largest_drop=1.0)
    verify_candidate(on_digits, candidate)
    manifest = read_candidate(candidate)
    check_earned(manifest)
    report = in_int8(manifest)[0].quantisation
    silent = report.model_copy(update={"parity": ()})
    with pytest.raises(PublishRefused, match=r"verification did not measure model\.int8\.onnx"):
        check_earned(with_int8(manifest, quantisation=silent))
    with pytest.raises(PublishRefused, match=r"model\.int8\.onnx is over the tolerance"):
        check_earned(with_int8(manifest, tolerance=1e-9))
    worse = report.quality.model_copy(update={"value": report.quality.source_value - 0.5, "largest_drop": 0.01})
    with pytest.raises(PublishRefused, match=r"a drop of 0\.5000, where 0\.0100 is allowed"):
        check_earned(with_int8(manifest, quantisation=report.model_copy(update={"quality": worse})))
