"""The checkpoint of a network without weights, which no training leaves: record, samples, an empty weights file.

With it, everything after training treats such a network like any other.
"""

import shutil
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from pydantic import ValidationError
from safetensors.torch import save_model

from models.checkpoint import SAMPLES_DIR, Record, read_record, write_record
from models.export.failure import CheckpointUnusable
from models.provenance import git_revision
from models.registry import RegisteredMechanism
from server.manifest import CHECKPOINT_FILE

SEED = 0
"""Of the samples."""


def write_checkpoint(model: RegisteredMechanism, directory: Path) -> None:
    """Writes the checkpoint folder, in place of the same model's; the same model always gives the same samples.

    Raises CheckpointUnusable if the folder holds anything else, such as what a training left.
    """
    if directory.exists():
        _check_own(model, directory)
        shutil.rmtree(directory)
    (directory / SAMPLES_DIR).mkdir(parents=True)
    for number, sample in enumerate(model.task.samples(model.config, SEED)):
        np.savez(directory / SAMPLES_DIR / f"{number}.npz", allow_pickle=False, **sample)
    save_model(model.task.build(model.config), str(directory / CHECKPOINT_FILE))
    write_record(directory, _record(model))


def _check_own(model: RegisteredMechanism, directory: Path) -> None:
    try:
        found = read_record(directory).model
    except (OSError, ValidationError) as error:
        raise CheckpointUnusable(f"{directory} is there and is no checkpoint of {model.name}: remove it") from error
    if found != model.name:
        raise CheckpointUnusable(f"{directory} is a checkpoint of {found}, not of {model.name}")


def _record(model: RegisteredMechanism) -> Record:
    return Record(
        model=model.name,
        task=model.task.name,
        config=asdict(model.config),
        codec=None,
        files=(),
        labels=None,
        seed=SEED,
        data=None,
        quality=None,
        versions={},
        git_revision=git_revision(Path(__file__).parent),
        created_at=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
    )
