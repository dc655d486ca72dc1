"""A packed graph against PyTorch over each row by itself, measured.

rows -> pack -> session -> its row ┐
row  -------->  network ---------> ┴> difference an output

The network sees a row alone and padded by nothing, so that whatever a packed neighbour or padding changes shows. Each
mix of rows is packed twice: as it is, and padded in every direction in which a server may pad.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from models.export.cases import unseen_lengths
from models.export.packing import NO_PADDING, Padding, pack_rows, packed_tokens
from models.export.parity import Difference, run_network
from models.export.rows import Row
from models.export.trained import Trained
from server.manifest import GraphSpec, InputSpec, OutputParity, PackedParity
from server.packed import PACKED_LAYOUTS, packed_outputs
from server.runtime.session import Session

MOST_TOKENS = 1024
"""Of a mix; a row by itself may be longer. Servers pack fewer: attention over all pairs grows with the square."""
PADDINGS = (NO_PADDING, Padding(tokens=13, rows=2, places=3))
NEIGHBOURS = 6
KEPT = 0.7
"""The share of a row's tokens that a made-up mask leaves."""


@dataclass(frozen=True, eq=False)
class Mix:
    """Rows to pack together."""

    rows: tuple[Row, ...]
    expected: tuple[Row, ...]
    """The network's answer to each by itself."""


def measure_packed(trained: Trained, graph: GraphSpec, session: Session, mixes: Sequence[Mix]) -> PackedParity:
    """Runs every mix through the packed graph; reports, and leaves the judgement to the caller.

    Raises ValueError if the graph's layout is none of the packed ones.
    """
    layout = graph.packed
    if layout is None:
        raise ValueError(f"{graph.file} takes padded rows; the packed layouts are {', '.join(PACKED_LAYOUTS)}")
    inputs, outputs = trained.signature.inputs, packed_outputs(trained.signature.outputs)
    differences = {spec.name: Difference() for spec in outputs}
    empty = _answer_to_nothing(trained, mixes[0].rows[0])
    for mix in mixes:
        for padding in PADDINGS:
            answered = session.run(pack_rows(mix.rows, inputs, layout, padding))
            due = [*mix.expected, *([] if empty is None else [empty] * padding.rows)]
            for name, difference in differences.items():
                rows = answered[name] if empty is not None else answered[name][: len(mix.rows)]
                difference.add(np.concatenate([row[name] for row in due]), rows)
    return PackedParity(
        file=graph.file,
        tolerance=graph.tolerance,
        outputs=tuple(
            OutputParity(output=name, max_error=difference.largest, mean_error=difference.mean)
            for name, difference in differences.items()
        ),
        rows=tuple(sorted({len(mix.rows) for mix in mixes})),
        tokens=tuple(sorted({packed_tokens(mix.rows, inputs) for mix in mixes})),
    )


def packed_mixes(trained: Trained, samples: Sequence[Row], seed: int) -> tuple[Mix, ...]:
    """What to pack: the samples, alone and all together; and at every unseen length a row, alone and among others.

    Of the made-up rows one is of one token, and the mask hides tokens in the middle of others, and of one all; values
    are drawn from those that the samples hold.
    """
    inputs, traced = trained.signature.inputs, trained.signature.example_length
    rng = np.random.default_rng(seed)
    mixes = [(samples[0],), *_within(samples, inputs)]
    for longest in unseen_lengths(inputs, traced):
        assert longest is not None  # noqa: S101 - what can be packed has a length axis
        lengths = [longest, 1, *(int(rng.integers(1, longest + 1)) for _ in range(NEIGHBOURS))]
        rows = [_made_up(rng, samples, inputs, length) for length in lengths]
        shown = [_hidden(rng, row, inputs, KEPT) for row in rows[2:-1]]
        mixes.append((rows[0],))
        mixes.extend(_within([*rows[:2], *shown, _hidden(rng, rows[-1], inputs, 0.0)], inputs))
    return tuple(Mix(mix, tuple(run_network(trained, row) for row in mix)) for mix in mixes)


def _within(rows: Sequence[Row], inputs: Sequence[InputSpec]) -> Iterator[tuple[Row, ...]]:
    """Rows in their order, as many together as stay within `MOST_TOKENS`."""
    mix: list[Row] = []
    for row in rows:
        if mix and packed_tokens([*mix, row], inputs) > MOST_TOKENS:
            yield tuple(mix)
            mix = []
        mix.append(row)
    yield tuple(mix)


def _made_up(rng: np.random.Generator, samples: Sequence[Row], inputs: Sequence[InputSpec], length: int) -> Row:
    """A row of this length that nothing is hidden in."""
    return {
        spec.name: np.ones((1, length), dtype=samples[0][spec.name].dtype)
        if spec.role == "mask"
        else rng.choice(np.concatenate([sample[spec.name].ravel() for sample in samples]), size=(1, length))
        for spec in inputs
    }


def _hidden(rng: np.random.Generator, row: Row, inputs: Sequence[InputSpec], kept: float) -> Row:
    """The row with its mask true for about this share of the tokens; as it is, where the model has no mask."""
    masks = {
        spec.name: (rng.random(row[spec.name].shape) < kept).astype(row[spec.name].dtype)
        for spec in inputs
        if spec.role == "mask"
    }
    return {**row, **masks}


def _answer_to_nothing(trained: Trained, row: Row) -> Row | None:
    """The network's answer to a row that is all hidden, which is due for padding rows; None for one without mask."""
    masks = {spec.name: np.zeros_like(row[spec.name]) for spec in trained.signature.inputs if spec.role == "mask"}
    return run_network(trained, {**row, **masks}) if masks else None
