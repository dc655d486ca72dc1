"""Any task as a LightningModule: Lightning knows the loop, the task knows the rest."""

import random
from collections.abc import Mapping
from functools import partial
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, Dataset
from typing_extensions import override

from models.registry import TrainingDefaults
from models.tasks.task import Batch, PreparedData, Task
from models.training.batches import LengthBuckets, in_length_order
from models.training.errors import TrainingRefused
from models.training.identity import Identity
from models.training.schedule import warmup_cosine

QUALITY = "quality"
IDENTITY = "attendant"
EVALUATION_BATCH_SIZE = 128


class TrainingModule(pl.LightningModule):
    """Trains a task's network.

    Each epoch reseeds itself from the seed and its number, so that a training that was killed and goes on from the
    end of an epoch ends with the weights that it would have had.
    """

    def __init__(
        self,
        task: Task[Any],
        network: nn.Module,
        prepared: PreparedData,
        hyperparameters: TrainingDefaults,
        identity: Identity,
    ) -> None:
        super().__init__()
        self.network = network
        self._task = task
        self._prepared = prepared
        self._hyper = hyperparameters
        self._identity = identity
        self._train_lengths = lengths(task, prepared.train)
        self._right, self._rows = 0.0, 0
        self._rng = random.Random()

    @override
    def train_dataloader(self) -> DataLoader[Batch]:
        seed = f"{self._identity.seed} {self.current_epoch}"
        process, processes = self.trainer.global_rank, self.trainer.world_size
        sampler = LengthBuckets(self._train_lengths, self._identity.batch_size, seed, process, processes)
        return DataLoader(self._prepared.train, batch_sampler=sampler, collate_fn=self._collate_augmented)

    @override
    def val_dataloader(self) -> DataLoader[Batch]:
        # Every process validates on all of it: they agree without talking, and it is short.
        return evaluation_loader(self._task, self._prepared.validation)

    @override
    def on_train_epoch_start(self) -> None:
        self._rng = random.Random(f"augmentation {self._epoch_seed()}")

    @override
    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        # Not at the epoch's start: until here Lightning draws from this generator, more or less as it resumes or not.
        if batch_idx == 0:
            torch.manual_seed(random.Random(f"dropout {self._epoch_seed()}").getrandbits(63))

    @override
    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = self._task.loss(self.network, batch)
        self.log("loss", loss.detach(), on_step=False, on_epoch=True, prog_bar=True, batch_size=_rows(batch))
        return loss

    @override
    def on_validation_epoch_start(self) -> None:
        self._right, self._rows = 0.0, 0

    @override
    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        right, rows = self._task.score(self.network, batch)
        self._right += right
        self._rows += rows

    @override
    def on_validation_epoch_end(self) -> None:
        self.log(QUALITY, self._right / self._rows, prog_bar=True, sync_dist=True)

    @override
    def configure_optimizers(self) -> Any:
        hyper = self._hyper
        matrices = [weight for weight in self.network.parameters() if weight.ndim > 1]
        vectors = [weight for weight in self.network.parameters() if weight.ndim <= 1]
        groups: list[dict[str, Any]] = [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]
        optimizer = AdamW(groups, lr=hyper.learning_rate, weight_decay=hyper.weight_decay)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = partial(warmup_cosine, steps=steps, warmup=round(hyper.warmup_share * steps))
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": LambdaLR(optimizer, schedule), "interval": "step"},
        }

    @override
    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint[IDENTITY] = dict(vars(self._identity))

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Raises TrainingRefused if the checkpoint is of another training than this one."""
        there: Mapping[str, object] = checkpoint.get(IDENTITY, {})
        for name, ours in vars(self._identity).items():
            if there.get(name) != ours:
                raise TrainingRefused(
                    f"cannot resume: the interrupted training had {name} {there.get(name)!r}, this one has {ours!r}; "
                    "give the same options, or start anew without --resume"
                )

    def _epoch_seed(self) -> str:
        return f"{self._identity.seed} {self.current_epoch} {self.trainer.global_rank}"

    def _collate_augmented(self, rows: list[Batch]) -> Batch:
        return self._task.collate([self._task.augment(row, self._rng) for row in rows])


def lengths(task: Task[Any], rows: Dataset[Batch]) -> list[int]:
    """The length of each row, as the task counts it."""
    return [task.length(rows[index]) for index in range(size(rows))]


def size(rows: Dataset[Batch]) -> int:
    """The number of rows; `Dataset` does not promise a length, those of tasks have one."""
    return len(rows)  # type: ignore[arg-type]


def evaluation_loader(task: Task[Any], rows: Dataset[Batch]) -> DataLoader[Batch]:
    """All rows once, unchanged, those of like length together."""
    batches = in_length_order(lengths(task, rows), EVALUATION_BATCH_SIZE)
    return DataLoader(rows, batch_sampler=batches, collate_fn=task.collate)


def _rows(batch: Batch) -> int:
    return len(next(iter(batch.values())))
