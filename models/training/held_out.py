"""The data of a finished training, read once more: to measure on examples that it never saw."""

import shutil
from pathlib import Path
from typing import Any

from models.checkpoint import Record
from models.tasks.task import PreparedData, Task
from models.training.errors import TrainingRefused


def prepare_again(task: Task[Any], config: Any, record: Record, files: Path, directory: Path) -> PreparedData:
    """The splits of the training that left this record, encoded by the codec whose files lie in `files`.

    `directory`, which is empty, takes a copy of those files.
    Raises TrainingRefused if the record names no data, a file of the codec is missing, or the data is not what was
    trained on any more; models.data.DataError if it cannot be read.
    """
    trained_on = record.data
    if trained_on is None:
        raise TrainingRefused(f"the record of {record.model} names no data that it was trained on")
    for name in record.files:
        try:
            shutil.copyfile(files / name, directory / name)
        except FileNotFoundError as error:
            raise TrainingRefused(f"{files} lacks {name}, without which no example can be encoded") from error
    data = None if trained_on.source == task.source else trained_on.source
    prepared = task.prepare(config, directory, data, record.seed)
    if prepared.provenance.fingerprint != trained_on.fingerprint:
        raise TrainingRefused(
            f"{trained_on.source} is not what {record.model} was trained on: examples changed since, perhaps with a "
            "library's version, so that its held-out quality cannot be measured again"
        )
    return prepared
