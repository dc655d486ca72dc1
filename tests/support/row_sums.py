"""One small model as numpy functions, in each layout that a graph can have: what it computes is exact, so that
answers can be compared for equality.

Of a row's tokens that no mask hides, `sum` [rows, 1] adds up the ids, and `moment` [rows, 1] adds up, over all places,
the place from 1 times the row's sum, as attention over the whole row followed by pooling would. `echo` is the ids.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from server import packed
from server.batching.collate import PaddedRows
from server.batching.cost import Work
from server.batching.lattice import Lattice
from server.batching.layout import Layout
from server.batching.pack import BlockDiagonal, Gathered
from server.manifest import FixedAxis, OutputSpec, RowAxis
from server.tensors import Array, Datatype
from tests.support.requests import ECHO, IDS, MASK, SUM

MOMENT = OutputSpec(name="moment", datatype=Datatype.INT64, axes=(RowAxis(), FixedAxis(size=1)))
INPUTS, OUTPUTS = (IDS, MASK), (ECHO, SUM, MOMENT)


def layout_of(name: str, lattice: Lattice | None = None, row_lattice: Lattice | None = None) -> Layout:
    """The layout of this name for the model."""
    if name == "rows":
        return PaddedRows(INPUTS, OUTPUTS, lattice, row_lattice)
    kind = BlockDiagonal if name == "block-diagonal" else Gathered
    return kind(INPUTS, OUTPUTS, lattice or Lattice.exact(), row_lattice or Lattice.exact())


def run_sums(inputs: Mapping[str, Array], outputs: Sequence[str], _stop: object = None) -> dict[str, Array]:
    """Runs the model on inputs of whichever layout they are."""
    if packed.SEGMENTS in inputs:
        found = _block_diagonal(inputs)
    elif packed.GATHER in inputs:
        found = _gathered(inputs)
    else:
        found = _rows(inputs)
    return {name: found[name] for name in outputs}


def work_of(inputs: Mapping[str, Array]) -> Work:
    """The size of the run that these inputs make, by their shapes alone."""
    ids = inputs["ids"]
    if packed.SEGMENTS in inputs:
        return Work(len(inputs[packed.ROWS]), len(ids), len(ids) ** 2)
    if packed.GATHER in inputs:
        rows, longest = inputs[packed.GATHER].shape
        return Work(rows, len(ids), rows * longest**2)
    rows, length = ids.shape
    return Work(rows, rows * length, rows * length**2)


def _rows(inputs: Mapping[str, Array]) -> dict[str, Array]:
    ids, mask = inputs["ids"], inputs["mask"].astype(np.int64)
    total = (ids * mask).sum(axis=1, keepdims=True)
    return {"echo": ids, "sum": total, "moment": total * (mask * _from_one(ids.shape[1])).sum(axis=1, keepdims=True)}


def _block_diagonal(inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Every token gets what its segment holds, padding tokens that of theirs; rows then collect by segment."""
    ids, segments, rows = inputs["ids"], inputs[packed.SEGMENTS], inputs[packed.ROWS]
    same = segments[:, None] == segments[None, :]
    attended = (same * ids[None, :]).sum(axis=1)
    own = (rows[:, None] == segments[None, :]).astype(np.int64)
    places = inputs[packed.POSITIONS] + 1
    return {"sum": (own @ ids)[:, None], "moment": (own @ (attended * places))[:, None]}


def _gathered(inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Gathers to rows for what looks over a row, scatters back to tokens, and gathers once more to collect."""
    ids, gather, present = inputs["ids"], inputs[packed.GATHER], inputs[packed.PRESENT].astype(np.int64)
    total = (ids[gather] * present).sum(axis=1, keepdims=True)
    attended = np.broadcast_to(total, gather.shape).reshape(-1)[inputs[packed.SCATTER]]
    weighted = attended * (inputs[packed.POSITIONS] + 1)
    return {"sum": total, "moment": (weighted[gather] * present).sum(axis=1, keepdims=True)}


def _from_one(size: int) -> Array:
    return np.arange(1, size + 1, dtype=np.int64)
