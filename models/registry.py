"""The registered models: everything that `python -m models train <name>` needs to know."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from models.data.areas import SOURCE as AREAS_SOURCE
from models.data.areas import labelled_areas
from models.data.digits import SOURCE as DIGITS_SOURCE
from models.data.digits import labelled_digits
from models.networks import ImageClassifierConfig, TextClassifierConfig
from models.tasks.image_classification import ImageClassification
from models.tasks.task import Task
from models.tasks.text_classification import TextClassification

# What was collected from installed packages, kept until they change.
CACHE = Path("runs") / ".cache"


@dataclass(frozen=True, kw_only=True)
class TrainingDefaults:
    """How a model is trained unless the caller says otherwise.

    epochs: passes over the training split, at most.
    batch_size: rows of one optimiser step, in each process.
    learning_rate: its peak, after a linear warm-up and before a cosine decay to zero.
    weight_decay: of AdamW (Loshchilov and Hutter 2019), on matrices only.
    warmup_share: the share of all steps that warms up.
    average_decay: of the moving average of the weights, which is what is kept; per step.
    patience: epochs without a better validation quality after which training stops.
    gradient_norm: gradients are scaled down to this norm.
    threads: of PyTorch, in each process; None: one a core. A network so small that its operators take microseconds
        loses more to the threads' meeting than it gains.
    seed: of the split, the initial weights, the order and the augmentation.
    """

    epochs: int
    batch_size: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup_share: float = 0.08
    average_decay: float = 0.995
    patience: int = 5
    gradient_norm: float = 1.0
    threads: int | None = None
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class RegisteredModel:
    """One model: a task, a network of a size, and how to train it.

    config, tiny: the network's configuration for use and for tests; what only the data knows is filled in later.
    """

    name: str
    description: str
    task: Task[Any]
    config: Any
    tiny: Any
    training: TrainingDefaults


class NotRegistered(Exception):
    """No model has this name; the message lists those that exist."""


def registered_model(name: str) -> RegisteredModel:
    """The registered model. Raises NotRegistered."""
    if name not in MODELS:
        raise NotRegistered(f"{name!r} is not a registered model; those are {', '.join(sorted(MODELS))}")
    return MODELS[name]


def _by_name(*models: RegisteredModel) -> Mapping[str, RegisteredModel]:
    return {model.name: model for model in models}


MODELS: Mapping[str, RegisteredModel] = _by_name(
    RegisteredModel(
        name="digits",
        description="Which digit an image shows; convolution and 2-D self-attention",
        task=ImageClassification(DIGITS_SOURCE, labelled_digits, required=0.97),
        config=ImageClassifierConfig(num_classes=10, image_size=8, channels=1, widths=(32, 64), strides=(1, 1)),
        tiny=ImageClassifierConfig.tiny(),
        training=TrainingDefaults(epochs=24, learning_rate=3e-3, patience=24, average_decay=0.99, threads=1),
    ),
    RegisteredModel(
        name="areas",
        description="Which area of the Python ecosystem a text documents; Transformer encoder",
        task=TextClassification(AREAS_SOURCE, partial(labelled_areas, CACHE)),
        config=TextClassifierConfig(
            vocab_size=8000,
            num_classes=13,
            d_model=128,
            num_heads=4,
            num_layers=2,
            d_ff=256,
            dropout=0.3,
            embedding_dropout=0.2,
            word_dropout=0.3,
        ),
        tiny=TextClassifierConfig(
            vocab_size=200,
            num_classes=3,
            d_model=8,
            num_heads=2,
            num_layers=2,
            d_ff=16,
            max_len=64,
        ),
        training=TrainingDefaults(epochs=5, batch_size=48, learning_rate=2e-3),
    ),
)
