"""What both classification tasks share: one label a row, cross-entropy, accuracy, attention beside the logits."""

import json
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Generic

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from models.data.errors import DataError
from models.data.labelled import Content, Labelled
from models.networks import ClassifierOutput
from models.tasks.rows import TARGET, Rows
from models.tasks.task import Batch, Config, PreparedData, Task
from server.codecs import EncodedRow
from server.errors import ServeError
from server.manifest import Baseline, CodecSpec, QualityReport
from server.tensors import Array

LABELS_FILE = "labels.json"
NUM_SAMPLES = 12
# Targets are softened by this much: a network that is never certain of its training set generalises better
# (Szegedy et al. 2016, 7).
LABEL_SMOOTHING = 0.1
LOGITS = "logits"


def attention_output(layer: int) -> str:
    """The name of the graph output that holds a layer's attention weights."""
    return f"attention_{layer}"


class Classification(Task[Config], Generic[Config, Content]):
    """One class for each row.

    source: what the default data is.
    default: reads it, given a seed.
    required: the accuracy that the default data must reach; None: more than the baseline measured in the same run,
        which is also what a user's own data must reach.
    """

    sample_suffix: str

    def __init__(self, source: str, default: Callable[[int], Labelled[Content]], required: float | None = None) -> None:
        self._source = source
        self._default: Callable[[int], Labelled[Content]] = default
        self.required = required

    @property
    @override
    def source(self) -> str:
        return self._source

    @abstractmethod
    def read(self, data: str, seed: int) -> Labelled[Content]:
        """The examples of a user's own data. Raises models.data.DataError."""

    @abstractmethod
    def write_codec(
        self, config: Config, directory: Path, labelled: Labelled[Content]
    ) -> tuple[CodecSpec, tuple[str, ...]]:
        """The codec, and the names of its files, which are in `directory` afterwards."""

    @abstractmethod
    def encode(self, codec: CodecSpec, directory: Path, contents: Sequence[Content]) -> list[EncodedRow]:
        """The contents through the server's codec. Raises server.errors.ServeError for one that it refuses."""

    @abstractmethod
    def baseline(self, labelled: Labelled[Content], splits: dict[str, Rows]) -> Baseline:
        """A simpler method, fitted on the training split and scored on the test split."""

    @override
    def prepare(self, config: Config, directory: Path, data: str | None, seed: int) -> PreparedData:
        labelled = self._default(seed) if data is None else self.read(data, seed)
        codec, codec_files = self.write_codec(config, directory, labelled)
        (directory / LABELS_FILE).write_text(json.dumps(labelled.names, indent=0) + "\n", encoding="utf-8")
        splits = {
            name: self._rows(codec, directory, labelled, getattr(labelled.split, name))
            for name in ("train", "validation", "test")
        }
        samples = labelled.select(labelled.split.test[:: max(1, len(labelled.split.test) // NUM_SAMPLES)][:NUM_SAMPLES])
        return PreparedData(
            directory=directory,
            train=splits["train"],
            validation=splits["validation"],
            test=splits["test"],
            codec=codec,
            files=codec_files + (LABELS_FILE,),  # noqa: RUF005 - mypy 2.4 cannot type the starred form
            labels=labelled.names,
            provenance=labelled.provenance(),
            samples={f"{number}{self.sample_suffix}": _raw(content) for number, content in enumerate(samples[0])},
            baseline=lambda: self.baseline(labelled, splits),
        )

    @override
    def configure(self, config: Config, prepared: PreparedData) -> Config:
        return replace(config, num_classes=len(prepared.labels))  # type: ignore[type-var]

    @override
    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        return F.cross_entropy(self._logits(network, batch), batch[TARGET], label_smoothing=LABEL_SMOOTHING)

    @override
    def score(self, network: nn.Module, batch: Batch) -> tuple[float, int]:
        right = self._logits(network, batch).argmax(dim=-1) == batch[TARGET]
        return float(right.sum()), len(right)

    @override
    def score_answer(self, answer: Mapping[str, Array], row: Mapping[str, Array]) -> float:
        return float(answer[LOGITS].argmax() == row[TARGET].item())

    @override
    def quality(self, value: float, examples: int, prepared: PreparedData) -> QualityReport:
        baseline = None if prepared.baseline is None else prepared.baseline()
        own_data = prepared.provenance.source != self.source
        required = self.required if not own_data else None
        if required is None:
            required = above(baseline.value, examples) if baseline is not None else 0.0
        return QualityReport(metric="accuracy", value=value, required=required, examples=examples, baseline=baseline)

    @override
    def flatten(self, output: object) -> tuple[Tensor, ...]:
        if not isinstance(output, ClassifierOutput):
            raise TypeError(f"expected the output of a classifier, not {type(output).__name__}")
        return (output.logits,) + output.attention  # noqa: RUF005 - as above

    def _logits(self, network: nn.Module, batch: Batch) -> Tensor:
        output: ClassifierOutput = network(**{name: tensor for name, tensor in batch.items() if name != TARGET})
        return output.logits

    def _rows(self, codec: CodecSpec, directory: Path, labelled: Labelled[Content], indices: Sequence[int]) -> Rows:
        contents, labels = labelled.select(indices)
        try:
            return Rows(self.encode(codec, directory, contents), labels)
        except ServeError as error:
            raise DataError(f"{labelled.source}: an example cannot be encoded: {error.message}") from error


def above(baseline: float, examples: int) -> float:
    """The smallest accuracy over so many examples that is more than the baseline's: one more right answer."""
    return min(1.0, (round(baseline * examples) + 1) / examples)


def stack(rows: Sequence[Batch]) -> dict[str, Tensor]:
    """Rows of one size as a batch: each (...) -> (B,...)."""
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


def _raw(content: str | bytes) -> bytes:
    return content.encode() if isinstance(content, str) else content
