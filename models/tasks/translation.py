"""One sequence of characters in, another one out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from models.data.errors import DataError
from models.data.generation_tokenizers import END_ID, PADDING_ID, START_ID, read_plainly, write_character_tokenizer
from models.data.texts import Texts
from models.networks import (
    RecurrentTranslator,
    RecurrentTranslatorConfig,
    Stepwise,
    Translator,
    TranslatorConfig,
)
from models.networks.stepwise import INPUT_IDS, LOGITS, MASK, TOKENS
from models.tasks.classification import above
from models.tasks.rows import TARGET
from models.tasks.task import Batch, PreparedData
from models.tasks.writing import (
    NOTHING,
    TOKENIZER_FILE,
    IdRows,
    Writing,
    forced,
    pad,
    pad_forced,
    sample_files,
    tokenizer_in,
)
from server.codecs import TextCodec
from server.errors import ServeError
from server.manifest import Baseline, QualityReport, TextCodecSpec
from server.manifest import Task as TaskName
from server.tensors import Array

AnyTranslatorConfig = RecurrentTranslatorConfig | TranslatorConfig

LONGEST = 1024
"""Characters of a user's own source or target, at most."""


class Translation(Writing[AnyTranslatorConfig]):
    """Translation by a recurrent network or a Transformer, measured by how many held-out targets are met exactly.

    source, default: see `Writing`.
    required: the share of exact matches that the default data must reach. A user's own data must do better than the
        nearest training example.
    """

    name: ClassVar[TaskName] = "translation"
    columns = ("source", "target")

    def __init__(self, source: str, default: Callable[[int], Texts], required: float) -> None:
        super().__init__(source, default)
        self._required = required

    @override
    def build(self, config: AnyTranslatorConfig) -> Stepwise:
        return RecurrentTranslator(config) if isinstance(config, RecurrentTranslatorConfig) else Translator(config)

    @override
    def prepare(self, config: AnyTranslatorConfig, directory: Path, data: str | None, seed: int) -> PreparedData:
        texts = self.texts(data, seed)
        path = tokenizer_in(directory)
        if not path.is_file():
            write_character_tokenizer((text for row in texts.rows for text in row), path)
        longest = max(len(source) for source, _ in texts.rows)
        codec = TextCodecSpec(
            tokenizer=TOKENIZER_FILE, max_length=max(config.max_len, longest), input_ids=INPUT_IDS, mask=MASK
        )
        splits = {
            name: _encode(texts, getattr(texts.split, name), codec, directory)
            for name in ("train", "validation", "test")
        }
        return PreparedData(
            directory=directory,
            train=splits["train"],
            validation=splits["validation"],
            test=splits["test"],
            codec=codec,
            files=(TOKENIZER_FILE,),
            labels=(),
            provenance=texts.provenance(),
            samples=sample_files([source for source, _ in texts.select(texts.split.test)]),
            baseline=None if data is None else lambda: _nearest(texts),
        )

    @override
    def configure(self, config: AnyTranslatorConfig, prepared: PreparedData) -> AnyTranslatorConfig:
        assert isinstance(prepared.codec, TextCodecSpec)  # noqa: S101
        vocabulary = read_plainly(tokenizer_in(prepared.directory)).get_vocab_size()
        splits = (prepared.train, prepared.validation, prepared.test)
        longest = max(len(row[TOKENS]) for split in splits for row in _rows(split))
        return replace(
            config,
            vocab_size=vocabulary,
            target_vocab_size=vocabulary,
            max_len=prepared.codec.max_length,
            max_target_len=max(config.max_target_len, longest + 1),  # and the end
            start_id=START_ID,
            end_id=END_ID,
            pad_id=PADDING_ID,
        )

    @override
    def length(self, row: Batch) -> int:
        return len(row[INPUT_IDS])

    @override
    def collate(self, rows: Sequence[Batch]) -> Batch:
        return {INPUT_IDS: pad(rows, INPUT_IDS, PADDING_ID), MASK: pad(rows, MASK, False), **pad_forced(rows)}

    @override
    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        logits = network(batch[INPUT_IDS], batch[MASK], batch[TOKENS])
        return F.cross_entropy(logits.flatten(0, 1), batch[TARGET].flatten(), ignore_index=NOTHING)

    @override
    def score(self, network: nn.Module, batch: Batch) -> tuple[float, int]:
        met = exact(network(batch[INPUT_IDS], batch[MASK], batch[TOKENS]), batch[TARGET])
        return float(met.sum()), len(met)

    @override
    def score_answer(self, answer: Mapping[str, Array], row: Mapping[str, Array]) -> float:
        return float(exact(torch.from_numpy(answer[LOGITS]), torch.from_numpy(row[TARGET])))

    @override
    def quality(self, value: float, examples: int, prepared: PreparedData) -> QualityReport:
        baseline = None if prepared.baseline is None else prepared.baseline()
        required = self._required if baseline is None else above(baseline.value, examples)
        return QualityReport(metric="exact match", value=value, required=required, examples=examples, baseline=baseline)


def exact(logits: Tensor, target: Tensor) -> Tensor:
    """Whether greedy search writes exactly the target and then ends: (B,T,V), (B,T) -> bool (B).

    It does if each token of the target is the likeliest after those before it, so that one run over the given target
    tells as much as writing it token by token.
    """
    logits = logits.clone()
    logits[..., [PADDING_ID, START_ID]] = -torch.inf  # never written
    return ((logits.argmax(dim=-1) == target) | (target == NOTHING)).all(dim=1)


def _encode(texts: Texts, indices: Sequence[int], codec: TextCodecSpec, directory: Path) -> IdRows:
    """Sources through the server's codec, targets through the same tokenizer."""
    reader, writer = TextCodec(codec, directory), read_plainly(tokenizer_in(directory))
    rows: list[Batch] = []
    for source, target in texts.select(indices):
        if max(len(source), len(target)) > LONGEST:
            raise DataError(f"{texts.source}: a text has more than {LONGEST} characters: {source[:40]!r} …")
        try:
            inputs = reader.encode(source).inputs
        except ServeError as error:
            raise DataError(f"{texts.source}: {source[:40]!r} cannot be encoded: {error.message}") from error
        given = {name: torch.from_numpy(array[0]) for name, array in inputs.items()}
        rows.append({**given, **forced(_ids(writer, target))})
    return IdRows(rows)


def _ids(tokenizer: Tokenizer, text: str) -> list[int]:
    ids: list[int] = tokenizer.encode(text).ids
    return ids


def _rows(split: object) -> IdRows:
    assert isinstance(split, IdRows)  # noqa: S101 - `prepare` made it
    return split


def _nearest(texts: Texts) -> Baseline:
    from models.data.nearest import NEAREST, nearest_targets  # scikit-learn takes seconds to import

    train, test = texts.select(texts.split.train), texts.select(texts.split.test)
    answers = nearest_targets([row[0] for row in train], [row[1] for row in train], [row[0] for row in test])
    met = sum(answer == row[1] for answer, row in zip(answers, test, strict=True))
    return Baseline(name=NEAREST, value=met / len(test))
