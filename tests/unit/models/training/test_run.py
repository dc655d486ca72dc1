import pytest

from models.training.errors import TrainingRefused
from models.training.run import RunFolder


def test_a_new_training_leaves_a_finished_checkpoint_alone(tmp_path):
    run = RunFolder(tmp_path / "run")
    run.checkpoint.mkdir(parents=True)
    run.state.mkdir(parents=True)
    run.last.write_bytes(b"old")
    run.start()
    assert run.checkpoint.is_dir()
    assert run.codec.is_dir()
    assert not run.last.exists()


def test_there_is_nothing_to_resume_without_a_finished_epoch(tmp_path):
    with pytest.raises(TrainingRefused, match="nothing to resume"):
        RunFolder(tmp_path).resume()
