"""What a caller may choose about one training."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from models.registry import RegisteredModel, TrainingDefaults

Precision = Literal["auto", "32-true", "bf16-mixed", "16-mixed"]
Strategy = Literal["auto", "ddp"]
TINY_EPOCHS = 2


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """One training.

    run: its folder, `runs/<model>` by default.
    data: a local file or folder or a hub name; None: the model's default data.
    tiny: the model's tiny configuration, for tests.
    seed, epochs, batch_size, learning_rate: None: the model's own.
    resume: goes on from the last checkpoint of the run.
    devices, strategy: how many processes train in parallel, and how they agree.
    precision: "auto": mixed where the device gains from it.
    accelerator: as Lightning names it.
    """

    run: Path
    data: str | None = None
    tiny: bool = False
    seed: int | None = None
    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    resume: bool = False
    devices: int = 1
    strategy: Strategy = "auto"
    precision: Precision = "auto"
    accelerator: str = "auto"

    def hyperparameters(self, defaults: TrainingDefaults) -> TrainingDefaults:
        """The model's defaults with what the caller chose."""
        if self.tiny:
            defaults = replace(defaults, epochs=TINY_EPOCHS, threads=1)
        chosen: dict[str, Any] = {
            "seed": self.seed,
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "learning_rate": self.learning_rate,
        }
        return replace(defaults, **{name: value for name, value in chosen.items() if value is not None})

    def config(self, model: RegisteredModel) -> Any:
        """The network's configuration, before the data completes it."""
        return model.tiny if self.tiny else model.config


def choose_precision(precision: Precision) -> Literal["32-true", "bf16-mixed", "16-mixed"]:
    """What "auto" means here: bfloat16 on a GPU that has it, float16 on an older one, float32 without a GPU."""
    if precision != "auto":
        return precision
    if not torch.cuda.is_available():
        return "32-true"
    return "bf16-mixed" if torch.cuda.is_bf16_supported() else "16-mixed"
