import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from models.export.bundle import read_candidate
from models.export.failure import CandidateUnusable, ParityFailed
from models.export.publish import publish
from models.importing.candidate import STEP_FILE, import_candidate
from models.importing.folder import read_export
from models.importing.verify import verify_import
from server.runtime.golden import read_golden


@pytest.fixture
def export(t5):
    return read_export(t5)


@pytest.fixture
def bundle(export, tmp_path):
    import_candidate(export, tmp_path / "bundle", name="t5", max_length=20)
    return tmp_path / "bundle"


def test_candidate_that_passes_may_be_published(export, bundle, tmp_path):
    report = verify_import(export, bundle)
    assert report.outputs[0].max_error <= report.tolerance
    assert report.batched_equals_alone_max_error <= report.tolerance
    assert {1, 9} <= set(report.batch_sizes)
    assert max(report.lengths) == 20
    publication = publish(bundle, tmp_path / "store")
    assert publication.version == 1
    assert not (publication.directory / "expected.json").exists()


def test_golden_rows_hold_a_source_tokens_and_the_logits_after_each(export, bundle):
    verify_import(export, bundle)
    manifest = read_candidate(bundle)
    for row in read_golden(bundle / manifest.golden):
        assert set(row.inputs) == {"input_ids", "attention_mask", "tokens"}
        assert row.inputs["tokens"][0, 0] == manifest.generation.start[0]
        assert row.outputs["logits"].shape == (*row.inputs["tokens"].shape, manifest.generation.vocab_size)


def test_candidate_with_other_weights_holds_no_proof(export, bundle):
    verify_import(export, bundle)
    model = onnx.load(bundle / STEP_FILE)
    largest = max(model.graph.initializer, key=lambda tensor: np.prod(tensor.dims))
    largest.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(largest) * 1.5, largest.name))
    onnx.save(model, bundle / STEP_FILE)
    with pytest.raises(ParityFailed, match="differ from the export's"):
        verify_import(export, bundle)
    manifest = read_candidate(bundle)
    assert manifest.parity is None
    assert not manifest.files


def test_graph_that_does_not_open_is_refused(export, bundle):
    (bundle / STEP_FILE).write_bytes(b"")
    with pytest.raises(CandidateUnusable, match=STEP_FILE):
        verify_import(export, bundle)


def test_bundle_that_answers_at_once_is_no_import(export, bundle):
    manifest = (bundle / "manifest.json").read_text().replace('"role": "encode"', '"role": "step"')
    (bundle / "manifest.json").write_text(manifest)
    with pytest.raises(CandidateUnusable):
        verify_import(export, bundle)
