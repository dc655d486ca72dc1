"""Checkpoint folders of registered models at their tiny configuration, with random weights instead of a training.

A model without weights has the checkpoint that its export would make.
"""

import io
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_model
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from torch import nn

from models.checkpoint import SAMPLES_DIR, Record, write_record
from models.data.generation_tokenizers import write_character_tokenizer
from models.export.weightless import write_checkpoint
from models.registry import MODELS, RegisteredMechanism
from server.manifest import CHECKPOINT_FILE, CodecSpec, DataProvenance, ImageCodecSpec, QualityReport, TextCodecSpec

UNKNOWN = "[UNK]"
# fmt: off
WORDS = [
    "[PAD]", UNKNOWN, "[CLS]", "a", "an", "and", "array", "by", "columns", "empty", "error", "file", "if", "is", "it",
    "line", "matrix", "mean", "number", "of", "or", "path", "raises", "returns", "rows", "sample", "sorted", "text",
]
# fmt: on
"""The vocabulary, as far as a tiny configuration has room for it; ids are positions."""

CHARACTERS = "0123456789- abcdefghi"
"""What tiny models read and write that write characters; with the special tokens, no more than any of them has."""

GOOD_QUALITY = QualityReport(metric="accuracy", value=0.99, required=0.5, examples=100)


def make_checkpoint(run: Path, model: str, *, seed: int = 0, quality: QualityReport = GOOD_QUALITY) -> Path:
    """Writes `<run>/checkpoint` for a registered model; the same seed gives the same weights and samples."""
    directory = run / "checkpoint"
    registered = MODELS[model]
    if isinstance(registered, RegisteredMechanism):
        write_checkpoint(registered, directory)
        return directory
    (directory / SAMPLES_DIR).mkdir(parents=True)
    config = registered.tiny
    codec, files = CODECS[registered.task.name](directory, config, np.random.default_rng(seed))
    labels = None
    if hasattr(config, "num_classes"):
        labels = "labels.json"
        (directory / labels).write_text(json.dumps([f"class {index}" for index in range(config.num_classes)]))
    torch.manual_seed(seed)
    save_model(open_every_gate(registered.task.build(config)), str(directory / CHECKPOINT_FILE))
    write_record(
        directory,
        Record(
            model=model,
            task=registered.task.name,
            config=asdict(config),
            codec=codec.model_dump(),
            files=files if labels is None else (*files, labels),
            labels=labels,
            seed=seed,
            data=DataProvenance(source="random numbers", fingerprint="0" * 64, examples={"train": 100, "test": 100}),
            quality=quality,
            versions={"python": "3"},
            git_revision=None,
            created_at="2026-01-01T00:00:00Z",
        ),
    )
    return directory


def open_every_gate(network: nn.Module) -> nn.Module:
    """Moves gates and norms off the zeros and ones they start at, where leaving them out would go unnoticed."""
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() <= 1:
                parameter.uniform_(0.3, 1.5)
    return network


def sentence(rng: np.random.Generator, vocabulary: list[str], length: int) -> str:
    return " ".join(rng.choice(vocabulary, size=length))


def _text_codec(directory: Path, config, rng: np.random.Generator) -> tuple[CodecSpec, tuple[str, ...]]:
    vocabulary = WORDS[: config.vocab_size]
    tokenizer = Tokenizer(WordLevel({word: index for index, word in enumerate(vocabulary)}, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(directory / "tokenizer.json"))
    for index, length in enumerate((3, 9, 1, 17, 12)):
        (directory / SAMPLES_DIR / f"{index}.txt").write_text(sentence(rng, vocabulary[3:], length))
    return TextCodecSpec(max_length=config.max_len), ("tokenizer.json",)


def _characters(directory: Path, rng: np.random.Generator) -> str:
    """The tokenizer of a model that writes characters, and samples of them; its name."""
    write_character_tokenizer([CHARACTERS], directory / "tokenizer.json")
    for index, length in enumerate((3, 9, 1, 17, 12)):
        (directory / SAMPLES_DIR / f"{index}.txt").write_text("".join(rng.choice(list(CHARACTERS), size=length)))
    return "tokenizer.json"


def _source_codec(directory: Path, config, rng: np.random.Generator) -> tuple[CodecSpec, tuple[str, ...]]:
    tokenizer = _characters(directory, rng)
    return TextCodecSpec(tokenizer=tokenizer, max_length=config.max_len), (tokenizer,)


def _prompt_codec(directory: Path, config, rng: np.random.Generator) -> tuple[CodecSpec, tuple[str, ...]]:
    tokenizer = _characters(directory, rng)
    return TextCodecSpec(tokenizer=tokenizer, max_length=config.max_len - 2, mask=None), (tokenizer,)


def _image_codec(directory: Path, config, rng: np.random.Generator) -> tuple[CodecSpec, tuple[str, ...]]:
    for index in range(5):
        (directory / SAMPLES_DIR / f"{index}.png").write_bytes(png(rng, config.image_size, config.channels))
    size, mode = config.image_size, "L" if config.channels == 1 else "RGB"
    return ImageCodecSpec(height=size, width=size, mode=mode, mean=(0.5,), std=(0.5,)), ()


def png(rng: np.random.Generator, size: int, channels: int = 1) -> bytes:
    """A square image of noise."""
    pixels = rng.integers(0, 256, size=(size, size, 3) if channels == 3 else (size, size), dtype=np.uint8)
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, format="PNG")
    return encoded.getvalue()


CODECS: dict[str, Callable[[Path, object, np.random.Generator], tuple[CodecSpec, tuple[str, ...]]]] = {
    "text-classification": _text_codec,
    "image-classification": _image_codec,
    "text-generation": _prompt_codec,
    "translation": _source_codec,
}
