"""The folder of one run.

<run>/training/codec/      tokenizer.json, labels.json
<run>/training/state/      last.ckpt and best.ckpt, to resume from and to restore
<run>/training/logs/       version_<n>/metrics.csv, one version for each start
<run>/checkpoint/          what training leaves: see models/checkpoint.py
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from models.training.errors import TrainingRefused


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Where the parts of one run lie."""

    path: Path

    @property
    def training(self) -> Path:
        """Everything that belongs to a training that is not finished."""
        return self.path / "training"

    @property
    def codec(self) -> Path:
        """The files of codec and task, while training."""
        return self.training / "codec"

    @property
    def state(self) -> Path:
        """The trainer's checkpoints."""
        return self.training / "state"

    @property
    def last(self) -> Path:
        """The checkpoint to resume from."""
        return self.state / "last.ckpt"

    @property
    def best(self) -> Path:
        """The checkpoint of the epoch with the best validation quality."""
        return self.state / "best.ckpt"

    @property
    def checkpoint(self) -> Path:
        """The finished training."""
        return self.path / "checkpoint"

    def start(self) -> None:
        """Makes room for a new training; the checkpoint of a finished one stays until the new one is finished too."""
        shutil.rmtree(self.training, ignore_errors=True)
        self.codec.mkdir(parents=True)

    def resume(self) -> Path:
        """The checkpoint to go on from. Raises TrainingRefused if there is none."""
        if not self.last.is_file():
            raise TrainingRefused(
                f"nothing to resume in {self.path}: no epoch was finished there; start without --resume"
            )
        return self.last
