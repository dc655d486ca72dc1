"""What a person sees while a model trains: a moving bar on a terminal, a line an epoch in a log."""

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback, RichProgressBar
from rich.console import Console

from models.training.module import QUALITY


def progress(console: Console) -> Callback:
    """The fitting display for where the output goes."""
    return Bar() if console.is_terminal else EpochLines(console)


class Bar(RichProgressBar):
    """Lightning's bar, with the metrics that mean something."""

    def __init__(self) -> None:
        super().__init__(refresh_rate=2, leave=False)

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        """The loss and the quality, without Lightning's version number."""
        metrics = super().get_metrics(trainer, pl_module)
        return {name: value for name, value in metrics.items() if name != "v_num"}


class EpochLines(Callback):
    """One line after each epoch."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Prints the epoch, the mean loss over it and the quality on validation."""
        if not trainer.is_global_zero:
            return
        values = trainer.callback_metrics
        self._console.print(
            f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}  loss {float(values['loss']):.4f}"
            f"  validation {float(values[QUALITY]):.4f}",
            highlight=False,
            soft_wrap=True,
        )
