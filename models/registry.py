"""The registered models: everything that `python -m models train <name>` needs to know, and what needs no training."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from models.data.areas import SOURCE as AREAS_SOURCE
from models.data.areas import labelled_areas
from models.data.dates import SOURCE as DATES_SOURCE
from models.data.dates import generated_dates
from models.data.digits import SOURCE as DIGITS_SOURCE
from models.data.digits import labelled_digits
from models.data.documentation import SOURCE as DOCUMENTATION_SOURCE
from models.data.documentation import documentation
from models.networks import (
    BareAttentionConfig,
    ImageClassifierConfig,
    LanguageModelConfig,
    RecurrentTranslatorConfig,
    TextClassifierConfig,
    TranslatorConfig,
)
from models.tasks.attention import BareMechanism
from models.tasks.image_classification import ImageClassification
from models.tasks.task import Exportable, Task, Weightless
from models.tasks.text_classification import TextClassification
from models.tasks.text_generation import TextGeneration
from models.tasks.translation import Translation

# What was collected from installed packages, kept until they change.
CACHE = Path("runs") / ".cache"
CHARACTERS_OF_DATES = 100
"""Roughly; how many there are exactly, the data says."""


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
class Registered:
    """One model: a task, and a network's configuration."""

    name: str
    description: str
    task: Exportable[Any]
    config: Any


@dataclass(frozen=True, kw_only=True)
class RegisteredModel(Registered):
    """A model that is learned: also how to train it.

    config, tiny: the network's configuration for use and for tests; what only the data knows is filled in later.
    """

    task: Task[Any]
    tiny: Any
    training: TrainingDefaults


@dataclass(frozen=True, kw_only=True)
class RegisteredMechanism(Registered):
    """A model without weights: there is nothing to train, its export is the first step."""

    task: Weightless[Any]


class NotRegistered(Exception):
    """No model has this name, or none that can do what is asked; the message lists those that exist."""


def registered_model(name: str) -> Registered:
    """The registered model. Raises NotRegistered."""
    if name not in MODELS:
        raise NotRegistered(f"{name!r} is not a registered model; those are {', '.join(sorted(MODELS))}")
    return MODELS[name]


def trainable_model(name: str) -> RegisteredModel:
    """The registered model, if it has weights to learn. Raises NotRegistered."""
    found = registered_model(name)
    if not isinstance(found, RegisteredModel):
        raise NotRegistered(f"{name!r} has no weights to train: begin with `python -m models export {name}`")
    return found


def _by_name(*models: Registered) -> Mapping[str, Registered]:
    return {model.name: model for model in models}


def _mechanism(name: str, mechanism: str, description: str) -> RegisteredMechanism:
    config = BareAttentionConfig(mechanism=mechanism)
    return RegisteredMechanism(name=name, description=description, task=BareMechanism(), config=config)


MODELS: Mapping[str, Registered] = _by_name(
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
            word_dropout=0.5,
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
        training=TrainingDefaults(epochs=3, batch_size=48, learning_rate=2e-3),
    ),
    RegisteredModel(
        name="dates",
        description="A date as people write it, in ISO 8601; GRUs with additive attention between them",
        task=Translation(DATES_SOURCE, generated_dates, required=0.99),
        config=RecurrentTranslatorConfig(
            vocab_size=CHARACTERS_OF_DATES,
            target_vocab_size=CHARACTERS_OF_DATES,
            d_embedding=48,
            d_hidden=96,
            d_attention=96,
            max_target_len=16,
        ),
        tiny=RecurrentTranslatorConfig.tiny(),
        training=TrainingDefaults(epochs=3, learning_rate=4e-3, threads=1),
    ),
    RegisteredModel(
        name="dates-transformer",
        description="A date as people write it, in ISO 8601; Transformer encoder and decoder",
        task=Translation(DATES_SOURCE, generated_dates, required=0.99),
        config=TranslatorConfig(
            vocab_size=CHARACTERS_OF_DATES,
            target_vocab_size=CHARACTERS_OF_DATES,
            d_model=64,
            num_heads=4,
            num_layers=2,
            d_ff=128,
            dropout=0.0,
            max_len=64,
            max_target_len=16,
        ),
        tiny=TranslatorConfig.tiny(),
        training=TrainingDefaults(epochs=6, batch_size=32, learning_rate=3e-3, threads=1),
    ),
    RegisteredModel(
        name="docs-lm",
        description="What a text of Python documentation goes on with; causal Transformer",
        task=TextGeneration(DOCUMENTATION_SOURCE, partial(documentation, CACHE)),
        config=LanguageModelConfig(
            vocab_size=2048, d_model=128, num_heads=4, num_layers=3, d_ff=384, dropout=0.0, max_len=256
        ),
        tiny=LanguageModelConfig.tiny(),
        training=TrainingDefaults(epochs=1, batch_size=4, learning_rate=3e-3, average_decay=0.99),
    ),
    _mechanism("attend", "scaled-dot-product", "Scaled dot-product attention: softmax(q · k / √K) over the values"),
    _mechanism("attend-dot", "dot", "Dot-product attention: softmax(q · k) over the values"),
    _mechanism("attend-additive", "additive", "Additive attention: softmax(v · tanh(W q + U k)) over the values"),
    _mechanism("attend-concat", "concat", "Concat attention: softmax(v · tanh(W (q, k))) over the values"),
    _mechanism("attend-bilinear", "bilinear", "Bilinear attention: softmax(q · W k) over the values"),
    _mechanism("attend-linear", "linear", "Linear attention: weights in proportion to phi(q) · phi(k), phi = elu + 1"),
    _mechanism("attend-multi-head", "multi-head", "Multi-head attention over scaled dot products"),
)
