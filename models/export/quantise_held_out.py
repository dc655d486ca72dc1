"""The held-out examples of a training as rows, encoded by the bundle's own codec, with the task's judgement of each."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from models.data.errors import DataError
from models.export.cases import sample_cases
from models.export.failure import QuantisationRefused
from models.export.quantise_compare import Score
from models.export.rows import Row
from models.export.trained import Trained
from models.tasks.task import Task
from models.training.errors import TrainingRefused
from models.training.held_out import prepare_again

BATCH_ROWS = 16
"""Of rows in the order of the split, so that long and short ones meet: the hardest neighbours that a server gives."""


@dataclass(frozen=True)
class HeldOut:
    """Rows with their inputs and `target`; `score` says how good an answer to one of them is."""

    rows: tuple[Row, ...]
    score: Score
    metric: str
    higher_is_better: bool = True

    def cases(self, trained: Trained) -> Sequence[Sequence[Row]]:
        """The rows in batches of `BATCH_ROWS` at most."""
        chunks = (self.rows[start : start + BATCH_ROWS] for start in range(0, len(self.rows), BATCH_ROWS))
        return [case for chunk in chunks for case in sample_cases(chunk, trained.signature.inputs)]


def held_out(trained: Trained, bundle: Path) -> HeldOut:
    """The test split of the training, read again and encoded by the codec whose files lie in the bundle.

    Raises QuantisationRefused if the model was not trained, or its data cannot be read or is not the same any more.
    """
    task: Any = trained.task
    quality = trained.record.quality
    if not isinstance(task, Task) or quality is None:
        raise QuantisationRefused(
            f"{trained.record.model} has no held-out quality to lose: with --without-quality, "
            "the error to fp32 alone is stated"
        )
    try:
        with TemporaryDirectory() as files:
            prepared = prepare_again(task, trained.config, trained.record, bundle, Path(files))
    except (TrainingRefused, DataError) as error:
        raise QuantisationRefused(f"{error}; with --without-quality, the error to fp32 alone is stated") from error
    if prepared.codec != trained.codec:
        raise QuantisationRefused(f"the codec of {trained.record.model} is not the one that serves its training's data")
    rows: Any = prepared.test  # a Dataset has no length of its own
    return HeldOut(
        rows=tuple(
            {name: tensor.unsqueeze(0).numpy() for name, tensor in rows[index].items()} for index in range(len(rows))
        ),
        score=task.score_answer,
        metric=quality.metric,
        higher_is_better=quality.higher_is_better,
    )
