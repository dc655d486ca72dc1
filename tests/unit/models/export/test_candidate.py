import shutil
from dataclasses import replace

import pytest

from models.export import candidate as exporting
from models.export import weights
from models.export.bundle import read_candidate
from models.export.candidate import export_candidate
from models.export.failure import CheckpointUnusable
from models.export.verify import verify_candidate
from server.manifest import CHECKPOINT_FILE, MANIFEST_FILE
from server.runtime.onnx_file import parse_onnx


@pytest.fixture
def model():
    return "digits"


def test_candidate_holds_the_graph_the_codecs_files_and_the_weights(trained, tmp_path):
    bundle = tmp_path / "run" / "bundle"
    manifest = export_candidate(trained, bundle)
    expected = {MANIFEST_FILE, "model.onnx", CHECKPOINT_FILE, *trained.record.files}
    assert {path.name for path in bundle.iterdir()} == expected
    for name in (CHECKPOINT_FILE, *trained.record.files):
        assert (bundle / name).read_bytes() == (trained.directory / name).read_bytes()
    assert read_candidate(bundle) == manifest


def test_manifest_says_what_the_record_says_and_claims_no_proof(trained, tmp_path):
    manifest = export_candidate(trained, tmp_path / "bundle")
    assert (manifest.name, manifest.task) == ("digits", trained.record.task)
    assert (manifest.inputs, manifest.outputs) == (trained.signature.inputs, trained.signature.outputs)
    assert (manifest.attention, manifest.codec) == (trained.signature.attention, trained.codec)
    assert manifest.graphs[0].maps
    assert (manifest.quality, manifest.labels) == (trained.record.quality, "labels.json")
    assert (manifest.parity, manifest.golden, manifest.files) == (None, None, {})


def test_export_replaces_a_former_candidate_and_its_proof(trained, candidate):
    (candidate / "stale.bin").write_bytes(b"old")
    export_candidate(trained, candidate)
    assert not (candidate / "stale.bin").exists()
    assert read_candidate(candidate).parity is None
    assert [path.name for path in candidate.parent.iterdir()] == ["bundle"]


def test_checkpoint_that_lacks_a_file_leaves_the_former_candidate(trained, candidate, tmp_path):
    directory = shutil.copytree(trained.directory, tmp_path / "checkpoint")
    (directory / "labels.json").unlink()
    before = read_candidate(candidate)
    with pytest.raises(CheckpointUnusable, match=r"labels\.json, but it is not there"):
        export_candidate(replace(trained, directory=directory), candidate)
    assert read_candidate(candidate) == before
    assert {path.name for path in tmp_path.iterdir()} == {"bundle", "checkpoint"}


@pytest.mark.parametrize("model", ["areas"])
def test_packed_graphs_come_after_the_one_over_padded_rows_unless_they_are_unwanted(trained, tmp_path):
    layouts = [graph.layout for graph in export_candidate(trained, tmp_path / "bundle").graphs]
    assert layouts == ["rows", "block-diagonal", "gathered"]
    plain = export_candidate(trained, tmp_path / "bundle", packed=False)
    assert [graph.layout for graph in plain.graphs] == ["rows"]
    assert [path.name for path in (tmp_path / "bundle").glob("*.onnx")] == ["model.onnx"]


@pytest.mark.parametrize("model", ["areas"])
def test_large_weights_are_shared_by_all_graphs(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "SMALLEST_BYTES", 128)
    monkeypatch.setattr(exporting, "shared_weights", lambda _, directory: weights.SharedWeights(directory))
    manifest = export_candidate(trained, tmp_path / "bundle")
    size = sum(parameter.nbytes for parameter in trained.network.parameters())
    tensors = len(list(trained.network.parameters()))
    assert (tmp_path / "bundle" / weights.WEIGHTS_FILE).stat().st_size < size + 3 * tensors * weights.ALIGNMENT_BYTES
    for graph in manifest.graphs:
        content = (tmp_path / "bundle" / graph.file).read_bytes()
        assert parse_onnx(content).external_files == {weights.WEIGHTS_FILE}
    assert verify_candidate(trained, tmp_path / "bundle").packed
