import json

import onnx
import pytest
from onnx import numpy_helper

from models.export.bundle import read_candidate
from models.export.digest import digests
from models.export.failure import CandidateUnusable, ParityFailed
from models.export.graph import GRAPH_FILE
from models.export.packed import PACKED_FILES
from models.export.verify import verify_candidate
from server.manifest import MANIFEST_FILE


def strip_proof(bundle):
    """The candidate as export leaves it."""
    document = json.loads((bundle / MANIFEST_FILE).read_text())
    for key in ("parity", "golden", "files"):
        document.pop(key, None)
    (bundle / MANIFEST_FILE).write_text(json.dumps(document))


def nudge_weights(bundle, file=GRAPH_FILE):
    """Makes the graph answer a little differently from the network."""
    model = onnx.load(bundle / file)
    for index, tensor in enumerate(model.graph.initializer):
        if tensor.name.endswith("head.bias"):
            changed = numpy_helper.from_array(numpy_helper.to_array(tensor) + 0.01, tensor.name)
            model.graph.initializer[index].CopyFrom(changed)
            break
    else:
        raise AssertionError("no bias to nudge")
    onnx.save(model, bundle / file)


def test_candidate_that_passes_holds_the_report_the_golden_rows_and_the_digests(trained, candidate):
    strip_proof(candidate)
    assert read_candidate(candidate).parity is None
    report = verify_candidate(trained, candidate)
    manifest = read_candidate(candidate)
    assert manifest.parity == report
    assert manifest.golden == "golden.npz"
    assert manifest.batching.invariant
    present = {path.name for path in candidate.iterdir()}
    assert manifest.files.keys() == present - {MANIFEST_FILE}
    assert manifest.files == digests(candidate, manifest.files)


def test_graph_that_answers_differently_fails_with_the_report_and_loses_its_older_proof(trained, candidate):
    nudge_weights(candidate)
    with pytest.raises(ParityFailed, match=r"up to 1\.00e-02, over the tolerance of 1e-04, in logits") as failure:
        verify_candidate(trained, candidate)
    errors = {parity.output: parity.max_error for parity in failure.value.report.outputs}
    assert errors["logits"] == pytest.approx(0.01, abs=1e-3)
    manifest = read_candidate(candidate)
    assert manifest.parity is None
    assert manifest.golden is None
    assert manifest.files == {}


def test_candidate_whose_graph_does_not_open_is_unusable(trained, candidate):
    (candidate / GRAPH_FILE).write_bytes(b"no graph")
    with pytest.raises(CandidateUnusable, match=GRAPH_FILE):
        verify_candidate(trained, candidate)


def test_missing_candidate_is_named_with_the_command_that_makes_one(trained, tmp_path):
    with pytest.raises(CandidateUnusable, match=r"python -m models export"):
        verify_candidate(trained, tmp_path / "nothing")


@pytest.mark.parametrize("model", ["areas"])
def test_every_packed_graph_is_measured_and_the_report_names_it(trained, candidate):
    report = verify_candidate(trained, candidate)
    assert [packed.file for packed in report.packed] == list(PACKED_FILES.values())
    assert read_candidate(candidate).parity == report


@pytest.mark.parametrize("file", PACKED_FILES.values())
@pytest.mark.parametrize("model", ["areas"])
def test_packed_graph_that_answers_differently_fails_the_candidate(trained, candidate, file):
    nudge_weights(candidate, file)
    with pytest.raises(ParityFailed, match=rf"{file} differs from PyTorch by up to 1\.00e-02.* in logits") as failure:
        verify_candidate(trained, candidate)
    assert {packed.file: packed.outputs[0].max_error > 1e-3 for packed in failure.value.report.packed} == {
        name: name == file for name in PACKED_FILES.values()
    }
    assert read_candidate(candidate).parity is None


@pytest.mark.parametrize("model", ["areas"])
def test_packed_graph_that_does_not_open_makes_the_candidate_unusable(trained, candidate):
    (candidate / "gathered.onnx").write_bytes(b"no graph")
    with pytest.raises(CandidateUnusable, match=r"gathered\.onnx"):
        verify_candidate(trained, candidate)
