"""Measures a finished training again, from its checkpoint folder and the data it names."""

from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_model

from models.checkpoint import Record, read_record
from models.registry import RegisteredModel
from models.training.errors import TrainingRefused
from models.training.evaluate import measure
from models.training.held_out import prepare_again
from server.manifest import CHECKPOINT_FILE


def repeat_quality(model: RegisteredModel, checkpoint: Path) -> Record:
    """The checkpoint's record with the quality as it is measured now, the baseline included.

    Raises TrainingRefused if there is no such checkpoint, it is of another model or names no data, or the data is not
    what it was trained on any more; models.data.DataError if the data cannot be read.
    """
    record = _read(checkpoint)
    if record.model != model.name:
        raise TrainingRefused(f"{checkpoint} is a checkpoint of {record.model}, not of {model.name}")
    config = type(model.config)(**record.config)
    network = model.task.build(config)
    with TemporaryDirectory() as copy:
        prepared = prepare_again(model.task, config, record, checkpoint, Path(copy))
        try:
            load_model(network, checkpoint / CHECKPOINT_FILE)
        except (OSError, SafetensorError, RuntimeError) as error:
            raise TrainingRefused(f"{checkpoint / CHECKPOINT_FILE} does not hold this network's weights") from error
        value, examples = measure(model.task, network, prepared.test)
        quality = model.task.quality(value, examples, prepared)
    return record.model_copy(update={"quality": quality})


def _read(checkpoint: Path) -> Record:
    try:
        return read_record(checkpoint)
    except (OSError, ValidationError) as error:
        raise TrainingRefused(f"no readable checkpoint in {checkpoint}: train one first") from error
