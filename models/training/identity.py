"""What makes one training the same as another, so that one may go on where the other stopped."""

from dataclasses import dataclass
from typing import Any

from models.registry import TrainingDefaults


@dataclass(frozen=True)
class Identity:
    """What makes one training: two with the same identity are the same training."""

    model: str
    data: str
    """The data's fingerprint."""
    network: str
    seed: int
    epochs: int
    batch_size: int


def identity(model: str, data: str, config: Any, hyperparameters: TrainingDefaults) -> Identity:
    """What must be equal for one training to go on where another stopped."""
    return Identity(
        model=model,
        data=data,
        network=repr(config),
        seed=hyperparameters.seed,
        epochs=hyperparameters.epochs,
        batch_size=hyperparameters.batch_size,
    )
