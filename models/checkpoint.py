"""The checkpoint folder: what training, or where there is nothing to train the export, leaves for all that follows.

    <run>/checkpoint/
        record.json               model, task, configuration, data, seed, quality, versions
        checkpoint.safetensors    the weights, no pickle
        tokenizer.json, labels.json, …     what the codec and the task need, copied into the bundle as they are
        samples/<n>.txt | .png | .npz     a few held-out inputs as a caller would send them: for verification and
                                  golden replay

Export, verification and publishing read this folder alone; they never need the training data.
"""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from server.manifest import DataProvenance, QualityReport, Task

RECORD_FILE = "record.json"
SAMPLES_DIR = "samples"


class Record(BaseModel):
    """Everything that is known of a finished training."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    """The registered model's name."""
    task: Task
    config: dict[str, object]
    """The network's configuration, by field."""
    codec: dict[str, object] | None
    """The codec's specification, as in the manifest; None: the model takes tensors."""
    files: tuple[str, ...]
    """Files of the folder that the bundle needs besides the weights."""
    labels: str | None
    """Which of them lists the class names."""
    seed: int
    data: DataProvenance | None
    quality: QualityReport | None
    """Neither where the network has no weights: nothing was learned."""
    versions: dict[str, str]
    git_revision: str | None
    created_at: str


def write_record(directory: Path, record: Record) -> None:
    """Writes `record.json` into a checkpoint folder."""
    (directory / RECORD_FILE).write_text(record.model_dump_json(indent=2) + "\n", encoding="utf-8")


def read_record(directory: Path) -> Record:
    """Reads `record.json` of a checkpoint folder; FileNotFoundError or pydantic.ValidationError where it is not one."""
    return Record.model_validate_json((directory / RECORD_FILE).read_bytes())
