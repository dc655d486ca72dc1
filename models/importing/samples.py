"""Sources to verify on: the tokenizer's own words, put together at random, through the codec that will serve."""

from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from models.export.failure import CandidateUnusable
from models.export.rows import Row
from server.codecs import TextCodec, Truncation
from server.errors import ServeError
from server.manifest import Manifest, TextCodecSpec
from server.tensors import NUMPY_DTYPES

LENGTHS = (1, 2, 3, 5, 8, 13, 21)
"""Words of each text."""
_ATTEMPTS = 20
_SEED = 0


def sample_rows(bundle: Path, manifest: Manifest, known: int) -> tuple[Row, ...]:
    """One row for each of `LENGTHS`, as far as the tokenizer makes texts of its words that it can encode again.

    Ids from `known` on stay out: the encoder of the export does not know them and cannot be asked.
    Raises CandidateUnusable if the codec cannot be built, or encodes none of these texts.
    """
    spec = manifest.codec
    if not isinstance(spec, TextCodecSpec):
        raise CandidateUnusable(f"{bundle} has no codec of text")
    try:
        codec = TextCodec(spec, bundle)
    except ServeError as error:
        raise CandidateUnusable(f"the codec cannot be built: {error.message}") from error
    words = Tokenizer.from_file(str(bundle / spec.tokenizer))
    rng = np.random.default_rng(_SEED)
    made = (_row(rng, words, codec, length, known) for length in LENGTHS)
    rows = tuple(
        {spec.name: row[spec.name].astype(NUMPY_DTYPES[spec.datatype]) for spec in manifest.inputs}
        for row in made
        if row is not None
    )
    if not rows:
        raise CandidateUnusable(f"{spec.tokenizer} cannot encode texts of its own words")
    return rows


def _row(rng: np.random.Generator, words: Tokenizer, codec: TextCodec, length: int, known: int) -> Row | None:
    for _ in range(_ATTEMPTS):
        text = words.decode(rng.integers(0, known, length).tolist())
        try:
            row = codec.encode(text, Truncation.END).inputs
        except ServeError:
            continue
        if int(row[codec.spec.input_ids].max()) < known:
            return row
    return None
