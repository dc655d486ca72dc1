"""What verification feeds: the real samples through the server's codec, and rows made up at shapes never exported."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from models.export.example import EXAMPLE_LENGTH
from models.export.failure import CheckpointUnusable
from models.export.rows import Row
from models.export.trained import Trained
from server.codecs import Codec, TextCodec, Truncation, build_codec
from server.errors import ServeError
from server.manifest import FixedAxis, InputSpec, LengthAxis, RowAxis
from server.tensors import NUMPY_DTYPES, Array

BATCH_SIZES = (1, 3, 4, 9)
LENGTHS = (1, 2, 12, 40, 130)
"""Tried up to the longest that the model takes, and that one too. Both lists leave out what the exporter traced."""


def sample_rows(trained: Trained, bundle: Path) -> tuple[Row, ...]:
    """The checkpoint's samples, encoded by the codec of the bundle as the server would encode them.

    Raises CheckpointUnusable if there are none, the codec cannot read one, or does not feed every input.
    """
    try:
        codec = build_codec(trained.codec, bundle)
    except ServeError as error:
        raise CheckpointUnusable(f"the codec cannot be built: {error.message}") from error
    rows = tuple(_encode(codec, path, trained.signature.inputs) for path in trained.samples())
    if not rows:
        raise CheckpointUnusable(f"{trained.directory} holds no samples to verify on")
    return rows


def generated_cases(samples: Sequence[Row], inputs: Sequence[InputSpec], seed: int) -> Iterator[tuple[Row, ...]]:
    """Batches of every size and length of the lists above, with rows of mixed lengths in each.

    Values are drawn from those that the samples hold, so that they are valid without knowing what they mean.
    """
    rng = np.random.default_rng(seed)
    for size in BATCH_SIZES:
        for longest in unseen_lengths(inputs):
            lengths = [longest, *(longest and int(rng.integers(1, longest + 1)) for _ in range(size - 1))]
            yield tuple(_made_up(rng, samples, inputs, length) for length in lengths)


def unseen_lengths(inputs: Sequence[InputSpec]) -> tuple[int | None, ...]:
    """The lengths to try: (None,) for a model without length axes."""
    axes = [axis for spec in inputs for axis in spec.axes if isinstance(axis, LengthAxis)]
    if not axes:
        return (None,)
    bounds = [axis.max for axis in axes if axis.max is not None]
    tried = {length for length in LENGTHS if length <= min(bounds)} | {min(bounds)} if bounds else set(LENGTHS)
    return tuple(sorted(tried - {EXAMPLE_LENGTH}))


def _encode(codec: Codec, path: Path, inputs: Sequence[InputSpec]) -> Row:
    content = path.read_bytes()
    try:
        encoded = (
            codec.encode(content.decode(), Truncation.END) if isinstance(codec, TextCodec) else codec.encode(content)
        )
    except (ServeError, UnicodeDecodeError) as error:
        raise CheckpointUnusable(f"the codec cannot read the sample {path.name}: {error}") from error
    missing = [spec.name for spec in inputs if spec.name not in encoded.inputs]
    if missing:
        raise CheckpointUnusable(f"the codec does not feed the inputs {', '.join(missing)}")
    return {spec.name: encoded.inputs[spec.name].astype(NUMPY_DTYPES[spec.datatype]) for spec in inputs}


def _made_up(rng: np.random.Generator, samples: Sequence[Row], inputs: Sequence[InputSpec], length: int | None) -> Row:
    row: dict[str, Array] = {}
    for spec in inputs:
        like = samples[0][spec.name]
        shape = [
            1 if isinstance(axis, RowAxis) else axis.size if isinstance(axis, FixedAxis) else size
            for axis, size in zip(spec.axes, like.shape, strict=True)
        ]
        for position, axis in enumerate(spec.axes):
            if isinstance(axis, LengthAxis) and length is not None:
                shape[position] = length
        if spec.role == "mask":
            row[spec.name] = np.ones(shape, dtype=like.dtype)
        else:
            row[spec.name] = rng.choice(np.concatenate([sample[spec.name].ravel() for sample in samples]), size=shape)
    return row
