"""What verification feeds: the real samples through the server's codec, and rows made up at shapes never exported.

A case is a batch. Rows that differ in a free axis cannot share one.
"""

import zipfile
from collections.abc import Iterator, Sequence
from itertools import cycle
from pathlib import Path

import numpy as np

from models.export.example import EXAMPLE_LENGTH
from models.export.failure import CheckpointUnusable
from models.export.rows import Row, row_lengths
from models.export.trained import Trained
from server.codecs import Codec, TextCodec, Truncation, build_codec
from server.errors import ServeError
from server.manifest import FixedAxis, FreeAxis, InputSpec, LengthAxis, RowAxis
from server.tensors import NUMPY_DTYPES, Array

BATCH_SIZES = (1, 3, 4, 9)
LENGTHS = (1, 2, 12, 40, 130)
"""Tried up to the longest that the model takes, and that one too. Both lists leave out what the exporter traced."""
MOST_TOKENS = 16_384
"""Of a batch, padding included; a row by itself may be longer. A server makes batches of a quarter of that unless it is
set otherwise, so that a long model is tried in batches at least as large as it will be served in, not in nine rows."""


def sample_rows(trained: Trained, bundle: Path) -> tuple[Row, ...]:
    """The checkpoint's samples, encoded by the codec of the bundle as the server would encode them.

    Without a codec the samples are the tensors themselves, as `.npz` files.
    Raises CheckpointUnusable if there are none, the codec cannot read one, or does not feed every input.
    """
    try:
        codec = None if trained.codec is None else build_codec(trained.codec, bundle)
    except ServeError as error:
        raise CheckpointUnusable(f"the codec cannot be built: {error.message}") from error
    inputs = trained.signature.inputs
    rows = tuple(
        _tensors(path, inputs) if codec is None else _encode(codec, path, inputs) for path in trained.samples()
    )
    if not rows:
        raise CheckpointUnusable(f"{trained.directory} holds no samples to verify on")
    return rows


def sample_cases(samples: Sequence[Row], inputs: Sequence[InputSpec]) -> tuple[tuple[Row, ...], ...]:
    """The samples as batches up to `MOST_TOKENS`, each of samples that are equal in all free axes."""
    cases: dict[tuple[int, ...], list[Row]] = {}
    for row in samples:
        free = tuple(
            size
            for spec in inputs
            for axis, size in zip(spec.axes, row[spec.name].shape, strict=True)
            if isinstance(axis, FreeAxis)
        )
        cases.setdefault(free, []).append(row)
    return tuple(batch for rows in cases.values() for batch in _batches(rows, inputs))


def generated_cases(
    samples: Sequence[Row], inputs: Sequence[InputSpec], seed: int, traced: int | None = None
) -> Iterator[tuple[Row, ...]]:
    """Batches of every size and length of the lists above, up to `MOST_TOKENS`, with rows of mixed lengths in each.

    `traced` is the length of the exporter's example, which is left out; None: `EXAMPLE_LENGTH`.
    Values are drawn from those that the samples hold, so that they are valid without knowing what they mean; so are the
    sizes of free axes.
    """
    rng = np.random.default_rng(seed)
    alike = cycle(sample_cases(samples, inputs))
    for size in BATCH_SIZES:
        for longest in unseen_lengths(inputs, traced):
            if size > 1 and size * (longest or 1) > MOST_TOKENS:
                continue
            lengths = [longest, *(longest and int(rng.integers(1, longest + 1)) for _ in range(size - 1))]
            like = next(alike)
            yield tuple(_made_up(rng, like, inputs, length) for length in lengths)


def unseen_lengths(inputs: Sequence[InputSpec], traced: int | None = None) -> tuple[int | None, ...]:
    """The lengths to try: (None,) for a model without length axes."""
    axes = [axis for spec in inputs for axis in spec.axes if isinstance(axis, LengthAxis)]
    if not axes:
        return (None,)
    bounds = [axis.max for axis in axes if axis.max is not None]
    tried = {length for length in LENGTHS if length <= min(bounds)} | {min(bounds)} if bounds else set(LENGTHS)
    return tuple(sorted(tried - {EXAMPLE_LENGTH if traced is None else traced}))


def _batches(rows: Sequence[Row], inputs: Sequence[InputSpec]) -> Iterator[tuple[Row, ...]]:
    """Rows in their order, as many together as stay within `MOST_TOKENS`."""
    batch: list[Row] = []
    longest = 0
    for row in rows:
        length = max(row_lengths(row, inputs).values(), default=1)
        longest = max(longest, length)
        if batch and (len(batch) + 1) * longest > MOST_TOKENS:
            yield tuple(batch)
            batch, longest = [], length
        batch.append(row)
    yield tuple(batch)


def _encode(codec: Codec, path: Path, inputs: Sequence[InputSpec]) -> Row:
    content = path.read_bytes()
    try:
        encoded = (
            codec.encode(content.decode(), Truncation.END) if isinstance(codec, TextCodec) else codec.encode(content)
        )
    except (ServeError, UnicodeDecodeError) as error:
        raise CheckpointUnusable(f"the codec cannot read the sample {path.name}: {error}") from error
    return _complete(encoded.inputs, inputs, "the codec")


def _tensors(path: Path, inputs: Sequence[InputSpec]) -> Row:
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise CheckpointUnusable(f"the sample {path.name} cannot be read as arrays") from error
    return _complete(arrays, inputs, f"the sample {path.name}")


def _complete(arrays: Row, inputs: Sequence[InputSpec], origin: str) -> Row:
    missing = [spec.name for spec in inputs if spec.name not in arrays]
    if missing:
        raise CheckpointUnusable(f"{origin} does not feed the inputs {', '.join(missing)}")
    return {spec.name: arrays[spec.name].astype(NUMPY_DTYPES[spec.datatype]) for spec in inputs}


def _made_up(rng: np.random.Generator, samples: Sequence[Row], inputs: Sequence[InputSpec], length: int | None) -> Row:
    row: dict[str, Array] = {}
    lengths = _lengths(rng, inputs, length)
    for spec in inputs:
        like = samples[0][spec.name]
        shape = [
            1 if isinstance(axis, RowAxis) else axis.size if isinstance(axis, FixedAxis) else size
            for axis, size in zip(spec.axes, like.shape, strict=True)
        ]
        for position, axis in enumerate(spec.axes):
            if isinstance(axis, LengthAxis):
                shape[position] = lengths[axis.name]
        row[spec.name] = rng.choice(np.concatenate([sample[spec.name].ravel() for sample in samples]), size=shape)
    return row


def _lengths(rng: np.random.Generator, inputs: Sequence[InputSpec], length: int | None) -> dict[str, int]:
    """A size for each length axis by name: one of them is `length`, any others are at most as long."""
    names = list(dict.fromkeys(axis.name for spec in inputs for axis in spec.axes if isinstance(axis, LengthAxis)))
    if length is None or not names:
        return {}
    lengths = {name: int(rng.integers(1, length + 1)) for name in names}
    return {**lengths, str(rng.choice(names)): length}
