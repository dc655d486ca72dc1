"""What text goes on with, learned from texts as they are."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from models.data.generation_tokenizers import END_ID, PADDING_ID, START_ID, read_plainly, train_byte_pair_tokenizer
from models.data.texts import Texts
from models.networks import LanguageModel, LanguageModelConfig, Stepwise
from models.networks.stepwise import INPUT_IDS, LOGITS, TOKENS
from models.tasks.rows import TARGET
from models.tasks.task import Batch, PreparedData
from models.tasks.writing import (
    NOTHING,
    TOKENIZER_FILE,
    IdRows,
    Writing,
    forced,
    pad_forced,
    sample_files,
    tokenizer_in,
)
from server.manifest import Baseline, QualityReport, TextCodecSpec
from server.manifest import Task as TaskName
from server.tensors import Array

BYTES = "bytes"
ROWS_AT_ONCE = 8
"""Of a batch that is scored: its logits are rows x positions x vocabulary, and there are several such tensors."""
LONGEST_SAMPLE = 60
"""Characters of a sample: the beginning of a held-out text, to be continued."""
N_GRAMS = "interpolated Kneser-Ney model of five bytes"


class TextGeneration(Writing[LanguageModelConfig]):
    """A language model, measured by the bits that it takes to tell a held-out text, for each of its bytes.

    A text that is longer than a row of the network is learned and measured in pieces, the later ones without what came
    before them. The end of a text counts in the bits and not in the bytes.
    """

    name: ClassVar[TaskName] = "text-generation"
    higher_is_better = False
    columns = ("text",)

    @override
    def build(self, config: LanguageModelConfig) -> Stepwise:
        return LanguageModel(config)

    @override
    def prepare(self, config: LanguageModelConfig, directory: Path, data: str | None, seed: int) -> PreparedData:
        texts = self.texts(data, seed)
        path = tokenizer_in(directory)
        if not path.is_file():
            train_byte_pair_tokenizer(_column(texts, texts.split.train), config.vocab_size, path)
        splits = {
            name: _encode(_column(texts, getattr(texts.split, name)), path, config.max_len)
            for name in ("train", "validation", "test")
        }
        return PreparedData(
            directory=directory,
            train=splits["train"],
            validation=splits["validation"],
            test=splits["test"],
            # Of a row, the start token has one position, and what is written at least another.
            codec=TextCodecSpec(
                tokenizer=TOKENIZER_FILE, max_length=config.max_len - 2, input_ids=INPUT_IDS, mask=None
            ),
            files=(TOKENIZER_FILE,),
            labels=(),
            provenance=texts.provenance(),
            samples=sample_files([beginning(text) for text in _column(texts, texts.split.test)]),
            baseline=lambda: _n_grams(texts),
        )

    @override
    def configure(self, config: LanguageModelConfig, prepared: PreparedData) -> LanguageModelConfig:
        vocabulary = read_plainly(tokenizer_in(prepared.directory)).get_vocab_size()
        return replace(config, vocab_size=vocabulary, start_id=START_ID, end_id=END_ID, pad_id=PADDING_ID)

    @override
    def length(self, row: Batch) -> int:
        return len(row[TOKENS])

    @override
    def collate(self, rows: Sequence[Batch]) -> Batch:
        return {**pad_forced(rows), BYTES: torch.stack([row[BYTES] for row in rows])}

    @override
    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        return _cross_entropy(network(batch[TOKENS]), batch[TARGET], "mean")

    @override
    def score(self, network: nn.Module, batch: Batch) -> tuple[float, int]:
        """(bits, bytes)."""
        parts = zip(torch.split(batch[TOKENS], ROWS_AT_ONCE), torch.split(batch[TARGET], ROWS_AT_ONCE), strict=True)
        nats = sum(float(_cross_entropy(network(tokens), target, "sum")) for tokens, target in parts)
        return nats / math.log(2), int(batch[BYTES].sum())

    @override
    def score_answer(self, answer: Mapping[str, Array], row: Mapping[str, Array]) -> float:
        """The row's own bits per byte; the mean over rows gives each the same weight, however long it is."""
        logits, target = torch.from_numpy(answer[LOGITS]), torch.from_numpy(row[TARGET])
        bits = float(_cross_entropy(logits, target, "sum")) / math.log(2)
        return bits / max(1, int(row[BYTES].sum()))

    @override
    def quality(self, value: float, examples: int, prepared: PreparedData) -> QualityReport:
        assert prepared.baseline is not None  # noqa: S101 - `prepare` gave it
        baseline = prepared.baseline()
        return QualityReport(
            metric="bits per byte",
            value=value,
            required=math.nextafter(baseline.value, -math.inf),  # anything less than it
            examples=prepared.provenance.examples["test"],
            baseline=baseline,
            higher_is_better=False,
        )


def beginning(text: str) -> str:
    """The first words of a text: what somebody might want continued."""
    line = text.strip().splitlines()[0] if text.strip() else text
    if len(line) <= LONGEST_SAMPLE:
        return line
    return line[:LONGEST_SAMPLE].rsplit(" ", 1)[0]


def _column(texts: Texts, indices: Sequence[int]) -> list[str]:
    return [text for (text,) in texts.select(indices)]


def _encode(texts: Sequence[str], tokenizer_file: Path, longest: int) -> IdRows:
    """Each text as one row or more of at most `longest` tokens, with the number of bytes that each stands for."""
    tokenizer = read_plainly(tokenizer_file)
    # Of a byte-level tokenizer, each character of a token is a byte. What ends a text is none.
    lengths = torch.zeros(tokenizer.get_vocab_size(), dtype=torch.int64)
    for token, index in tokenizer.get_vocab(with_added_tokens=False).items():
        lengths[index] = len(token)
    lengths[[PADDING_ID, START_ID, END_ID]] = 0
    rows: list[Batch] = []
    for encoding in tokenizer.encode_batch(texts):
        pieces = {name: torch.split(ids, longest) for name, ids in forced(encoding.ids).items()}
        for tokens, target in zip(pieces[TOKENS], pieces[TARGET], strict=True):
            rows.append({TOKENS: tokens, TARGET: target, BYTES: lengths[target].sum()})
    return IdRows(rows)


def _cross_entropy(logits: Tensor, target: Tensor, reduction: str) -> Tensor:
    """(B,T,V), (B,T) -> nats."""
    return F.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=NOTHING, reduction=reduction)


def _n_grams(texts: Texts) -> Baseline:
    from models.data.ngrams import NGrams

    model = NGrams(_column(texts, texts.split.train))
    test = _column(texts, texts.split.test)
    return Baseline(name=N_GRAMS, value=model.bits(test) / sum(len(text.encode()) for text in test))
