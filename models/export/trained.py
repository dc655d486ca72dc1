"""A network that can be exported, brought back from its checkpoint folder alone."""

from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_model
from torch import nn

from models.checkpoint import RECORD_FILE, SAMPLES_DIR, Record, read_record
from models.export.failure import CheckpointUnusable
from models.registry import MODELS
from models.tasks.task import Exportable, Signature
from server.manifest import CHECKPOINT_FILE, CodecSpec

_CODEC_SPEC: TypeAdapter[CodecSpec | None] = TypeAdapter(CodecSpec | None)


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained network with everything that its export needs to know of it."""

    directory: Path
    record: Record
    task: Exportable[object]
    config: object
    network: nn.Module
    """In evaluation mode, on the CPU."""
    codec: CodecSpec | None
    signature: Signature

    def samples(self) -> tuple[Path, ...]:
        """The held-out inputs as a caller would send them, in the order of their numbers."""
        found = (path for path in (self.directory / SAMPLES_DIR).glob("*") if path.stem.isdecimal())
        return tuple(sorted(found, key=lambda path: int(path.stem)))


def load_trained(directory: Path) -> Trained:
    """Builds the network that the checkpoint's record describes, and loads its weights.

    Raises CheckpointUnusable if there is no checkpoint, its record cannot be read, names an unregistered model, has a
    configuration or a codec that does not fit it, or the weights are not those of the network, or come without the data
    and the quality of their training.
    """
    record = _read(directory)
    registered = MODELS.get(record.model)
    if registered is None:
        raise CheckpointUnusable(f"{directory} is a checkpoint of {record.model!r}, which is not a registered model")
    task: Exportable[object] = registered.task
    try:
        config: object = type(registered.config)(**record.config)
    except (TypeError, ValueError) as error:
        raise CheckpointUnusable(f"{directory}: the configuration does not fit {record.model}: {error}") from error
    try:
        codec = _CODEC_SPEC.validate_python(record.codec)
    except ValidationError as error:
        raise CheckpointUnusable(f"{directory}: the codec in {RECORD_FILE} is not one of this version") from error
    network = task.build(config).eval()
    _load_weights(network, directory / CHECKPOINT_FILE)
    _check_learned(directory, record, network)
    return Trained(directory, record, task, config, network, codec, task.signature(config, codec))


def _read(directory: Path) -> Record:
    try:
        return read_record(directory)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CheckpointUnusable(
            f"no checkpoint in {directory}: train one first, with `python -m models train <model>`"
        ) from error
    except (ValidationError, OSError) as error:
        raise CheckpointUnusable(f"{directory / RECORD_FILE} cannot be read as a training record") from error


def _check_learned(directory: Path, record: Record, network: nn.Module) -> None:
    """Weights are published at a stated quality on stated data; only a network that has none goes without both."""
    if any(True for _ in network.parameters()) and (record.data is None or record.quality is None):
        raise CheckpointUnusable(f"{directory}: {record.model} has weights, but its record has no data or no quality")


def _load_weights(network: nn.Module, path: Path) -> None:
    try:
        load_model(network, path)
    except (OSError, SafetensorError) as error:
        raise CheckpointUnusable(f"{path} cannot be read as weights") from error
    except RuntimeError as error:
        raise CheckpointUnusable(f"{path} holds the weights of another network than its record describes") from error
