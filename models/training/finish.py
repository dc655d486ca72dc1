"""From a trained network to the checkpoint folder that export reads."""

import shutil
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_model
from torch import nn

from models.checkpoint import SAMPLES_DIR, Record, write_record
from models.provenance import git_revision, library_versions
from models.registry import RegisteredModel
from models.tasks.classification import LABELS_FILE
from models.tasks.task import PreparedData
from models.training.identity import Identity
from server.manifest import CHECKPOINT_FILE, QualityReport

NETWORK_PREFIX = "network."


def load_best(network: nn.Module, path: Path) -> None:
    """Restores the weights of a trainer's checkpoint: the averaged ones. Nothing in the file can run."""
    state: Mapping[str, Any] = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    network.load_state_dict(
        {name.removeprefix(NETWORK_PREFIX): value for name, value in state.items() if name.startswith(NETWORK_PREFIX)}
    )


def describe(
    model: RegisteredModel, config: Any, prepared: PreparedData, identity: Identity, quality: QualityReport
) -> Record:
    """Everything that is known of this training."""
    return Record(
        model=model.name,
        task=model.task.name,
        config=asdict(config),
        codec=prepared.codec.model_dump(mode="json"),
        files=prepared.files,
        labels=LABELS_FILE if LABELS_FILE in prepared.files else None,
        seed=identity.seed,
        data=prepared.provenance,
        quality=quality,
        versions=library_versions(),
        git_revision=git_revision(Path(__file__).parent),
        created_at=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
    )


def write_checkpoint(directory: Path, network: nn.Module, prepared: PreparedData, record: Record) -> None:
    """Writes the folder beside its place and then puts it there, so that `directory` is never half a checkpoint."""
    partial = directory.with_name(f".{directory.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    samples = partial / SAMPLES_DIR
    samples.mkdir(parents=True)
    for name, content in prepared.samples.items():
        (samples / name).write_bytes(content)
    for name in prepared.files:
        shutil.copyfile(prepared.directory / name, partial / name)
    save_model(network, str(partial / CHECKPOINT_FILE))
    write_record(partial, record)
    shutil.rmtree(directory, ignore_errors=True)
    partial.replace(directory)
