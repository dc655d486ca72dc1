import json
import shutil

import pytest

from models.checkpoint import RECORD_FILE, read_record
from models.export.bundle import read_candidate
from models.export.failure import CheckpointUnusable, PublishRefused
from models.export.gate import check_earned
from models.export.trained import load_trained
from models.export.weightless import write_checkpoint
from models.registry import MODELS
from tests.support.bundles import tiny_candidate


@pytest.fixture
def model():
    return "attend"


def test_checkpoint_says_that_nothing_was_learned(tmp_path):
    write_checkpoint(MODELS["attend"], tmp_path / "checkpoint")
    record = read_record(tmp_path / "checkpoint")
    assert (record.model, record.task, record.config) == ("attend", "attention", {"mechanism": "scaled-dot-product"})
    assert (record.data, record.quality, record.codec, record.labels) == (None, None, None, None)
    trained = load_trained(tmp_path / "checkpoint")
    assert not trained.network.state_dict()
    assert [path.name for path in trained.samples()] == [f"{number}.npz" for number in range(5)]


def test_checkpoint_takes_the_place_of_the_models_former_one(tmp_path):
    folder = tmp_path / "checkpoint"
    write_checkpoint(MODELS["attend"], folder)
    (folder / "left over").touch()
    write_checkpoint(MODELS["attend"], folder)
    assert not (folder / "left over").exists()
    assert load_trained(folder).record.model == "attend"


def test_what_a_training_left_is_never_overwritten(tmp_path):
    shutil.copytree(tiny_candidate("digits").parent / "checkpoint", tmp_path / "digits")
    (tmp_path / "notes").mkdir()
    for folder, message in (("digits", "is a checkpoint of digits, not of attend"), ("notes", "is no checkpoint of")):
        with pytest.raises(CheckpointUnusable, match=message):
            write_checkpoint(MODELS["attend"], tmp_path / folder)
    assert load_trained(tmp_path / "digits").record.model == "digits"


def test_verified_bundle_passes_the_gate_on_parity_alone(candidate):
    manifest = read_candidate(candidate)
    assert (manifest.quality, manifest.provenance.data) == (None, None)
    check_earned(manifest)
    with pytest.raises(PublishRefused, match="not verified"):
        check_earned(manifest.model_copy(update={"parity": None}))


def test_bundle_keeps_the_rows_that_its_mechanism_allows():
    assert read_candidate(tiny_candidate("attend")).batching.max_rows is None
    assert read_candidate(tiny_candidate("attend-additive")).batching.max_rows == 8


@pytest.mark.parametrize("missing", ["data", "quality"])
def test_weights_without_the_data_or_the_quality_of_their_training_are_refused(missing, tmp_path):
    folder = tiny_candidate("digits").parent / "checkpoint"
    for path in folder.iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    document = json.loads((tmp_path / RECORD_FILE).read_text())
    (tmp_path / RECORD_FILE).write_text(json.dumps({**document, missing: None}))
    with pytest.raises(CheckpointUnusable, match="digits has weights, but its record has no data or no quality"):
        load_trained(tmp_path)
