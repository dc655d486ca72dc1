"""What a task must say so that training, export and verification need to know nothing else about it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import ClassVar, Generic, TypeVar

from torch import Tensor, nn
from torch.utils.data import Dataset

from models.networks.stepwise import Stepwise
from server.manifest import (
    AttentionSpec,
    Baseline,
    BatchingSpec,
    CodecSpec,
    DataProvenance,
    GenerationSpec,
    InputSpec,
    OutputSpec,
    QualityReport,
    StateSpec,
)
from server.manifest import Task as TaskName
from server.tensors import Array

Config = TypeVar("Config")
Batch = Mapping[str, Tensor]
"""Tensors by name: the network's inputs under their argument names, and `target`."""


@dataclass(frozen=True)
class Signature:
    """The model's face in the manifest."""

    inputs: tuple[InputSpec, ...]
    outputs: tuple[OutputSpec, ...]
    attention: tuple[AttentionSpec, ...] = ()
    batching: BatchingSpec = field(default_factory=BatchingSpec)
    example_length: int | None = None
    """The length at which the exporter is to trace the graph, where it would take the usual one for a constant: a
    network that cuts its input into chunks needs more than one of them. None: the usual length."""
    states: tuple[StateSpec, ...] = ()
    """What a network that writes token by token carries from step to step."""
    generation: GenerationSpec | None = None
    """How it writes; None: it answers at once."""


def stepwise_signature(network: Stepwise) -> Signature:
    """The face of a network that writes token by token; one on the `meta` device has it too, and costs nothing."""
    return Signature(
        inputs=network.inputs,
        outputs=network.outputs,
        attention=network.attention,
        states=network.states,
        generation=network.generation,
    )


@dataclass(frozen=True)
class PreparedData:
    """Data ready to train on; what the codec needs is already written to `directory`."""

    directory: Path
    """The checkpoint folder; holds tokenizer.json, labels.json, …"""
    train: Dataset[Batch]
    validation: Dataset[Batch]
    test: Dataset[Batch]
    codec: CodecSpec
    files: tuple[str, ...]
    """The codec's and the task's files in `directory`."""
    labels: tuple[str, ...]
    provenance: DataProvenance
    samples: Mapping[str, bytes] = field(default_factory=dict)
    """A few held-out inputs as a caller would send them, by file name (`0.txt`, `0.png`)."""
    baseline: Callable[[], Baseline] | None = None
    """Fits a simpler method on the same training split and scores it on the same test split; None: there is none."""


class Exportable(ABC, Generic[Config]):
    """What export, verification and publishing must know of a network, however it came by its weights."""

    name: ClassVar[TaskName]

    @property
    @abstractmethod
    def source(self) -> str:
        """What the default data is, as it stands in a record."""

    @abstractmethod
    def build(self, config: Config) -> nn.Module:
        """The untrained network; its forward arguments are the names of the graph's inputs."""

    @abstractmethod
    def signature(self, config: Config, codec: CodecSpec | None) -> Signature:
        """Inputs, outputs and attention of the exported graph, in the order of `flatten`."""

    @abstractmethod
    def flatten(self, output: object) -> tuple[Tensor, ...]:
        """The network's output as the graph's outputs, in the signature's order."""


class Weightless(Exportable[Config]):
    """A network that is all formula: nothing to train, and nothing to measure but parity."""

    @abstractmethod
    def samples(self, config: Config, seed: int) -> Sequence[Mapping[str, Array]]:
        """A few inputs as a caller would send them, each with a leading row axis of 1, to verify and replay."""


class Task(Exportable[Config]):
    """One kind of job that is learned, for any network configuration that fits it."""

    higher_is_better: ClassVar[bool] = True
    """Of the quality metric; of one that counts errors or bits, less is better."""

    @abstractmethod
    def prepare(self, config: Config, directory: Path, data: str | None, seed: int) -> PreparedData:
        """Reads the data (None: the default that needs no download) and writes the codec's files.

        A codec's file that is already in `directory` is used as it is: a training that goes on, and every process of
        one that runs in several, must see the same tokens.

        Raises models.data.DataError where the columns do not fit, naming those found and those expected.
        """

    @abstractmethod
    def configure(self, config: Config, prepared: PreparedData) -> Config:
        """The configuration with what only the data knows: number of classes, vocabulary size."""

    def initialise(self, network: nn.Module, prepared: PreparedData, seed: int) -> None:
        """Gives a new network a better start than chance, from the training split alone; does nothing by default."""

    def augment(self, row: Batch, rng: Random) -> Batch:
        """A training example as it might have come differently; as it is by default."""
        return row

    def length(self, row: Batch) -> int:
        """What makes a row long: rows of like length train together. 0 by default, where all are of one size."""
        return 0

    @abstractmethod
    def collate(self, rows: Sequence[Batch]) -> Batch:
        """Examples -> one padded batch, as the server would pad it."""

    @abstractmethod
    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """The scalar training loss of a batch."""

    @abstractmethod
    def score(self, network: nn.Module, batch: Batch) -> tuple[float, int]:
        """(sum of the quality metric, number of what it is summed over): of rows, or of their bytes, say.

        The first over the second, over all batches, is the quality.
        """

    @abstractmethod
    def score_answer(self, answer: Mapping[str, Array], row: Mapping[str, Array]) -> float:
        """The quality metric of one row, from what a graph answered: as `score` has it from the network.

        `answer` holds the graph's outputs without attention, `row` its inputs and `target`; all have a leading row
        axis of 1.
        """

    @abstractmethod
    def quality(self, value: float, examples: int, prepared: PreparedData) -> QualityReport:
        """The report on held-out data: the metric, what is required of it, and a baseline measured now, if any."""
