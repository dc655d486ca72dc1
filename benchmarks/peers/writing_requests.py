"""What each model that writes is asked: the same list for all, from a seed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.load.requests import Ids
from benchmarks.load.writing import WritingList, evenly
from benchmarks.shapes.dates import DATES, published_dates
from benchmarks.shapes.marian import MARIAN, published_marian
from benchmarks.shapes.writing import SPECIAL
from models.data.dates import generated_dates
from server.codecs import TextCodec
from server.manifest import MANIFEST_FILE, TextCodecSpec, parse_manifest

SOURCE_TOKENS, NEW_TOKENS = (8, 48), (8, 64)
"""Of the requests to `marian-shape`: the fewest and the most."""
ISO_DATE = 10
"""Characters of a date in ISO 8601, which are what `dates-shape` writes."""

Lengths = tuple[Ids, Ids]
"""Tokens of each source, and tokens that it is to have written."""


def _marian(count: int, seed: int) -> Lengths:
    rng = np.random.default_rng(seed)
    return evenly(*SOURCE_TOKENS, count, rng), evenly(*NEW_TOKENS, count, rng)


def _dates(count: int, seed: int) -> Lengths:
    dates = generated_dates(seed, (count, 1, 1)).rows[:count]
    return np.array([len(source) for source, _ in dates]), np.full(count, ISO_DATE)


@dataclass(frozen=True)
class Writer:
    """A model that writes: where it lies, and what it is asked."""

    published: Callable[[Path], Path]
    lengths: Callable[[int, int], Lengths]
    """Of so many requests, from a seed."""


WRITERS: Mapping[str, Writer] = {
    MARIAN: Writer(published_marian, _marian),
    DATES: Writer(published_dates, _dates),
}
"""By the name under which each is published."""


def bundle_of(shape: str, cache: Path) -> Path:
    """The folder of the one version of a model."""
    return WRITERS[shape].published(cache) / shape / "1"


def writing_list(shape: str, count: int, seed: int, cache: Path) -> WritingList:
    """The requests to a model, of random words, read by its own codec.

    Raises ValueError where it reads no text or writes none.
    """
    folder = bundle_of(shape, cache)
    manifest = parse_manifest((folder / MANIFEST_FILE).read_bytes())
    if manifest.generation is None or not isinstance(manifest.codec, TextCodecSpec):
        raise ValueError(f"{shape} does not read and write text")
    lengths, wanted = WRITERS[shape].lengths(count, seed)
    rng = np.random.default_rng(seed)
    words = (rng.integers(len(SPECIAL), manifest.generation.vocab_size, size=length) for length in lengths.tolist())
    texts = tuple(" ".join(f"w{word}" for word in row) for row in words)
    encoded = TextCodec(manifest.codec, folder).encode_many(texts)
    rows = tuple(row.inputs[manifest.codec.input_ids][0] for row in encoded)
    return WritingList(rows, texts, tuple(wanted.tolist()))
