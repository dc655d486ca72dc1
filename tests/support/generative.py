"""Tiny models that write token by token, with random weights: as candidates, or published into a store folder."""

import atexit
import shutil
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any

from benchmarks.shapes.writing import Writer, publish_writer, untaught
from models.export.candidate import export_candidate
from models.export.trained import Trained
from models.export.verify import verify_candidate
from models.networks import (
    LanguageModel,
    LanguageModelConfig,
    RecurrentTranslator,
    RecurrentTranslatorConfig,
    Stepwise,
    Translator,
    TranslatorConfig,
)
from server.manifest import Manifest, parse_manifest

VOCABULARY = 32
"""Tokens of each, source and target: padding, start, end, and the words w3 to w31."""
SAMPLES = ("w3 w17 w9", "w5", "w30 w4 w4 w21 w8 w11 w29 w3 w12", "w6 w7")
FAMILIES = ("translator", "recurrent", "language-model")


@dataclass(frozen=True)
class Published:
    """A version in a store, and the network that it was made from, in evaluation mode."""

    directory: Path
    manifest: Manifest
    network: Stepwise


@cache
def written_candidate(family: str) -> tuple[Trained, Path]:
    """A tiny network of a family and its verified candidate, made once; whoever changes it works on a copy."""
    scratch = Path(mkdtemp(prefix="attendant-tests-"))
    atexit.register(shutil.rmtree, scratch, ignore_errors=True)
    trained = untaught(tiny_writer(family), scratch / "checkpoint")
    export_candidate(trained, scratch / "bundle")
    verify_candidate(trained, scratch / "bundle")
    return trained, scratch / "bundle"


def tiny_writer(family: str, name: str | None = None, **sizes: Any) -> Writer:
    """The writer of a family; `sizes` replace fields of its tiny configuration."""
    name = f"tiny-{family}" if name is None else name
    if family == "translator":
        config = replace(TranslatorConfig.tiny(), vocab_size=VOCABULARY, target_vocab_size=VOCABULARY, num_layers=1)
        config = replace(config, **sizes)
        return Writer(name, "translation", Translator, config, SAMPLES, config.max_len)
    if family == "recurrent":
        small = replace(RecurrentTranslatorConfig.tiny(), vocab_size=VOCABULARY, target_vocab_size=VOCABULARY)
        small = replace(small, **sizes)
        return Writer(name, "translation", RecurrentTranslator, small, SAMPLES, small.max_len)
    causal = replace(LanguageModelConfig.tiny(), vocab_size=VOCABULARY, num_layers=1)
    causal = replace(causal, **sizes)
    return Writer(name, "text-generation", LanguageModel, causal, SAMPLES, causal.max_len - 2)


def publish_tiny_translator(
    store: Path, name: str = "tiny-translator", *, seed: int = 0, int8: bool = False, **sizes: Any
) -> Published:
    """A Transformer with a source; `sizes` replace fields of its configuration, `TranslatorConfig.tiny()`."""
    return _publish(tiny_writer("translator", name, **sizes), store, seed, int8)


def publish_tiny_recurrent(
    store: Path, name: str = "tiny-recurrent", *, seed: int = 0, int8: bool = False, **sizes: Any
) -> Published:
    """A recurrent network with a source and an alignment; `sizes` replace fields of its tiny configuration."""
    return _publish(tiny_writer("recurrent", name, **sizes), store, seed, int8)


def publish_tiny_language_model(
    store: Path, name: str = "tiny-language-model", *, seed: int = 0, int8: bool = False, **sizes: Any
) -> Published:
    """A Transformer without a source, which continues its prompt; `sizes` replace fields of its tiny configuration."""
    return _publish(tiny_writer("language-model", name, **sizes), store, seed, int8)


def _publish(writer: Writer, store: Path, seed: int, int8: bool) -> Published:
    with TemporaryDirectory() as scratch:
        trained = publish_writer(writer, Path(scratch), store, seed=seed, int8=int8)
    version = max(int(entry.name) for entry in (store / writer.name).iterdir() if entry.name.isdecimal())
    directory = store / writer.name / str(version)
    assert isinstance(trained.network, Stepwise)
    return Published(directory, parse_manifest((directory / "manifest.json").read_bytes()), trained.network)
