"""Which class a text belongs to."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import ClassVar

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from typing_extensions import override

from models.data.external import labelled_texts
from models.data.labelled import Labelled
from models.data.tokenizer import train_tokenizer
from models.networks import TextClassifier, TextClassifierConfig
from models.tasks.classification import LOGITS, Classification, attention_output
from models.tasks.rows import TARGET, Rows
from models.tasks.task import Batch, PreparedData, Signature
from server.codecs import EncodedRow, TextCodec, Truncation
from server.manifest import (
    AttentionSpec,
    Baseline,
    CodecSpec,
    FixedAxis,
    InputSpec,
    LengthAxis,
    OutputSpec,
    RowAxis,
    TextCodecSpec,
    TokenAxis,
)
from server.manifest import Task as TaskName
from server.tensors import Datatype

TOKENIZER_FILE = "tokenizer.json"
INPUT_IDS = "input_ids"
MASK = "mask"
PADDING_ID = 0
# A training text is cut to a random window this often, so that the network meets short texts too.
CROP_PROBABILITY = 0.3
SHORTEST_CROP = 8


class TextClassification(Classification[TextClassifierConfig, str]):
    """Text classification by a `TextClassifier`."""

    name: ClassVar[TaskName] = "text-classification"
    sample_suffix = ".txt"

    @override
    def read(self, data: str, seed: int) -> Labelled[str]:
        return labelled_texts(data, seed)

    @override
    def write_codec(
        self, config: TextClassifierConfig, directory: Path, labelled: Labelled[str]
    ) -> tuple[CodecSpec, tuple[str, ...]]:
        path = directory / TOKENIZER_FILE
        if not path.is_file():
            train_tokenizer(labelled.select(labelled.split.train)[0], config.vocab_size, path)
        codec = TextCodecSpec(tokenizer=TOKENIZER_FILE, max_length=config.max_len, input_ids=INPUT_IDS, mask=MASK)
        return codec, (TOKENIZER_FILE,)

    @override
    def encode(self, codec: CodecSpec, directory: Path, contents: Sequence[str]) -> list[EncodedRow]:
        assert isinstance(codec, TextCodecSpec)  # noqa: S101
        return list(TextCodec(codec, directory).encode_many(contents, Truncation.END))

    @override
    def baseline(self, labelled: Labelled[str], splits: dict[str, Rows]) -> Baseline:
        split = labelled.split
        from models.data.baseline import BAG_OF_WORDS, fit_bag_of_words  # scikit-learn takes seconds to import

        model = fit_bag_of_words(labelled.select(split.train), labelled.select(split.validation))
        return Baseline(name=BAG_OF_WORDS, value=float(model.score(*labelled.select(split.test))))

    @override
    def configure(self, config: TextClassifierConfig, prepared: PreparedData) -> TextClassifierConfig:
        assert isinstance(prepared.codec, TextCodecSpec)  # noqa: S101
        vocabulary = TextCodec(prepared.codec, prepared.directory).vocabulary_size
        return replace(super().configure(config, prepared), vocab_size=vocabulary)

    @override
    def build(self, config: TextClassifierConfig) -> nn.Module:
        return TextClassifier(config)

    def initialise(self, network: nn.Module, prepared: PreparedData, seed: int) -> None:
        """Starts the token embedding from word vectors: words that keep the same company start out alike."""
        assert isinstance(network, TextClassifier)  # noqa: S101
        rows = prepared.train
        ids = [rows[index][INPUT_IDS].numpy() for index in range(len(rows))]  # type: ignore[arg-type]
        embedding = network.token_embedding
        from models.data.word_vectors import word_vectors  # scikit-learn takes seconds to import

        vectors = word_vectors(ids, embedding.num_embeddings, embedding.embedding_dim, seed)
        network.start_from_word_vectors(torch.from_numpy(vectors))

    @override
    def augment(self, row: Batch, rng: Random) -> Batch:
        length = self.length(row)
        if length <= SHORTEST_CROP or rng.random() >= CROP_PROBABILITY:
            return row
        kept = rng.randint(max(SHORTEST_CROP, length // 3), length)
        start = rng.randint(0, length - kept)
        window = slice(start, start + kept)
        return {INPUT_IDS: row[INPUT_IDS][window], MASK: row[MASK][window], TARGET: row[TARGET]}

    @override
    def length(self, row: Batch) -> int:
        return len(row[INPUT_IDS])

    @override
    def collate(self, rows: Sequence[Batch]) -> Batch:
        return {
            INPUT_IDS: pad_sequence([row[INPUT_IDS] for row in rows], batch_first=True, padding_value=PADDING_ID),
            MASK: pad_sequence([row[MASK] for row in rows], batch_first=True, padding_value=False),
            TARGET: torch.stack([row[TARGET] for row in rows]),
        }

    @override
    def signature(self, config: TextClassifierConfig, codec: CodecSpec | None) -> Signature:
        length = LengthAxis(max=config.max_len)
        maps = _attention_maps(config, length)
        tokens = TokenAxis(length=length.name)
        return Signature(
            inputs=(
                InputSpec(name=INPUT_IDS, datatype=Datatype.INT64, axes=(RowAxis(), length), pad=PADDING_ID),
                InputSpec(
                    name=MASK, datatype=Datatype.BOOL, axes=(RowAxis(), length), pad=False, role="mask", optional=True
                ),
            ),
            outputs=(
                OutputSpec(
                    name=LOGITS,
                    datatype=Datatype.FP32,
                    axes=(RowAxis(), FixedAxis(size=config.num_classes)),
                    role="logits",
                ),
                *maps,
            ),
            attention=(
                AttentionSpec(
                    name="tokens",
                    mechanism="multi-head self-attention",
                    outputs=tuple(spec.name for spec in maps),
                    query=tokens,
                    key=tokens,
                ),
            )
            if maps
            else (),
            example_length=None if config.window is None else config.window + 1,
        )


def _attention_maps(config: TextClassifierConfig, length: LengthAxis) -> tuple[OutputSpec, ...]:
    """The weights of each layer; none with a window, whose network returns none."""
    if config.window is not None:
        return ()
    axes = (RowAxis(), FixedAxis(size=config.num_heads), length, length)
    return tuple(
        OutputSpec(name=attention_output(layer), datatype=Datatype.FP32, axes=axes, role="attention")
        for layer in range(config.num_layers)
    )
