"""How a bundle came to be: what the training recorded, and what the export adds."""

from datetime import UTC, datetime
from pathlib import Path

from models.checkpoint import Record
from models.provenance import library_versions
from server.manifest import Provenance

EXPORT_LIBRARIES = (
    "numpy",
    "onnx",
    "onnxruntime",  # of its three builds one is installed
    "onnxruntime-gpu",
    "onnxruntime-openvino",
    "onnxscript",
    "pillow",
    "safetensors",
    "tokenizers",
    "torch",
)


def provenance(record: Record) -> Provenance:
    """The provenance of a bundle exported now from this record; where both name a library, the training's stands."""
    data = record.data
    return Provenance(
        created_at=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        data=None if data is None else data.model_copy(update={"source": public_source(data.source)}),
        seed=record.seed,
        config=record.config,
        versions={**library_versions(EXPORT_LIBRARIES), **record.versions},
        git_revision=record.git_revision,
    )


def public_source(source: str) -> str:
    """Where the data came from, without the folders of the machine: of a path its last part, else as it is.

    A path is what is absolute or starts with `.` or `~`; anything else may be the name of a public data set.
    """
    return Path(source).name if Path(source).is_absolute() or source.startswith((".", "~")) else source
