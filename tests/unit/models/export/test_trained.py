import json
import shutil

import pytest
import torch

from models.checkpoint import RECORD_FILE
from models.export.failure import CheckpointUnusable
from models.export.trained import load_trained
from server.manifest import CHECKPOINT_FILE


@pytest.fixture
def checkpoint(trained, tmp_path):
    """A copy of a checkpoint folder, to break."""
    return shutil.copytree(trained.directory, tmp_path / "checkpoint")


def edit_record(checkpoint, **changes):
    document = json.loads((checkpoint / RECORD_FILE).read_text())
    (checkpoint / RECORD_FILE).write_text(json.dumps({**document, **changes}))


def test_network_is_the_one_that_was_saved_and_evaluates(checkpoint):
    first, second = load_trained(checkpoint), load_trained(checkpoint)
    assert not first.network.training
    weights = first.network.state_dict()
    assert weights
    for name, tensor in second.network.state_dict().items():
        assert torch.equal(tensor, weights[name])


def test_configuration_survives_the_record(trained):
    assert type(trained.config)(**trained.record.config) == trained.config
    assert trained.signature.outputs[0].name == "logits"


def test_samples_come_in_the_order_of_their_numbers(checkpoint):
    samples = checkpoint / "samples"
    suffix = next(samples.iterdir()).suffix
    shutil.copy(samples / f"1{suffix}", samples / f"10{suffix}")
    (samples / "README.md").write_text("not a sample")
    assert [path.stem for path in load_trained(checkpoint).samples()] == ["0", "1", "2", "3", "4", "10"]


def test_missing_checkpoint_is_named_with_the_command_that_makes_one(tmp_path):
    with pytest.raises(CheckpointUnusable, match=r"no checkpoint in .*nowhere: .*python -m models train"):
        load_trained(tmp_path / "nowhere")


def test_unreadable_record_is_named(checkpoint):
    (checkpoint / RECORD_FILE).write_text("{")
    with pytest.raises(CheckpointUnusable, match=RECORD_FILE):
        load_trained(checkpoint)


def test_unregistered_model_is_named(checkpoint):
    edit_record(checkpoint, model="nobody")
    with pytest.raises(CheckpointUnusable, match="'nobody', which is not a registered model"):
        load_trained(checkpoint)


@pytest.mark.parametrize("change", [{"num_classes": 0}, {"unknown_field": 1}])
def test_configuration_that_does_not_fit_is_named(checkpoint, trained, change):
    edit_record(checkpoint, config={**trained.record.config, **change})
    with pytest.raises(CheckpointUnusable, match=f"configuration does not fit {trained.record.model}"):
        load_trained(checkpoint)


def test_codec_of_another_schema_is_named(checkpoint):
    edit_record(checkpoint, codec={"kind": "smell"})
    with pytest.raises(CheckpointUnusable, match="the codec"):
        load_trained(checkpoint)


def test_weights_of_another_configuration_are_refused(checkpoint, trained):
    edit_record(checkpoint, config={**trained.record.config, "num_classes": 7})
    with pytest.raises(CheckpointUnusable, match="weights of another network"):
        load_trained(checkpoint)


@pytest.mark.parametrize("damage", ["missing", "cut off"])
def test_damaged_weights_are_refused(checkpoint, damage):
    path = checkpoint / CHECKPOINT_FILE
    content = path.read_bytes()
    path.unlink() if damage == "missing" else path.write_bytes(content[:100])
    with pytest.raises(CheckpointUnusable, match="cannot be read as weights"):
        load_trained(checkpoint)
