"""The contract of packed graphs: the tokens of all rows one after another, without the padding between them.

A graph whose `GraphSpec.layout` is one of the two below computes what the rows graph computes, from other inputs.
Tokens that the mask hides are not packed at all, so that there is no mask. Each data input keeps its name and datatype
and is [tokens]; beside them stand, by layout:

block-diagonal, where attention runs over all pairs of tokens and counts those of one row:
    packed_positions  INT64 [tokens]         each token's place in its row, from 0, counted before any was hidden
    packed_segments   INT64 [tokens]         the number of its row; -1: padding, which belongs to no row
    packed_rows       INT64 [rows]           0, 1, … rows - 1

gathered, where attention runs over rows padded to the longest of them, and all else over tokens:
    packed_positions  INT64 [tokens]         as above
    packed_gather     INT64 [rows, longest]  which token stands at each place of each row; 0 where none does
    packed_present    BOOL  [rows, longest]  whether a token stands there
    packed_scatter    INT64 [tokens]         each token's place in the flattened [rows * longest]; 0 for padding

Outputs are those of the model that have one row axis and fixed ones, under their own names and with as many rows as
the inputs say. Attention maps are asked of the rows graph. `tokens`, `rows` and `longest` may be padded, and are at
least 1: padding tokens change no row, and a row without tokens gets what a row whose mask hides everything gets from
the rows graph.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from server.manifest import InputSpec, LengthAxis, OutputSpec
from server.tensors import Datatype

PackedLayout = Literal["block-diagonal", "gathered"]
PACKED_LAYOUTS: tuple[PackedLayout, ...] = ("block-diagonal", "gathered")

POSITIONS = "packed_positions"
SEGMENTS = "packed_segments"
ROWS = "packed_rows"
GATHER = "packed_gather"
PRESENT = "packed_present"
SCATTER = "packed_scatter"

NO_ROW = -1
"""The segment of padding tokens."""


@dataclass(frozen=True, slots=True)
class PackedInput:
    """One input of a packed graph; `axes` names what each axis counts: `tokens`, `rows` or `longest`."""

    name: str
    datatype: Datatype
    axes: tuple[str, ...]


_OF_LAYOUT: dict[PackedLayout, tuple[PackedInput, ...]] = {
    "block-diagonal": (
        PackedInput(POSITIONS, Datatype.INT64, ("tokens",)),
        PackedInput(SEGMENTS, Datatype.INT64, ("tokens",)),
        PackedInput(ROWS, Datatype.INT64, ("rows",)),
    ),
    "gathered": (
        PackedInput(POSITIONS, Datatype.INT64, ("tokens",)),
        PackedInput(GATHER, Datatype.INT64, ("rows", "longest")),
        PackedInput(PRESENT, Datatype.BOOL, ("rows", "longest")),
        PackedInput(SCATTER, Datatype.INT64, ("tokens",)),
    ),
}


def can_be_packed(inputs: Sequence[InputSpec], outputs: Sequence[OutputSpec]) -> bool:
    """Whether a model of this signature can have packed graphs.

    All inputs are (row, length) of one length name, at most one of them is the mask, and there is something to offer.
    """
    if not all([axis.kind for axis in spec.axes] == ["row", "length"] for spec in inputs):
        return False
    lengths = {axis.name for spec in inputs for axis in spec.axes if isinstance(axis, LengthAxis)}
    masks = sum(spec.role == "mask" for spec in inputs)
    return len(lengths) == 1 and masks <= 1 and masks < len(inputs) and bool(packed_outputs(outputs))


def packed_inputs(inputs: Sequence[InputSpec], layout: PackedLayout) -> tuple[PackedInput, ...]:
    """The inputs of a packed graph in the graph's order: the model's data inputs, then those of the layout."""
    data = (PackedInput(spec.name, spec.datatype, ("tokens",)) for spec in inputs if spec.role == "data")
    return *data, *_OF_LAYOUT[layout]


def packed_outputs(outputs: Sequence[OutputSpec]) -> tuple[OutputSpec, ...]:
    """The model's outputs that a packed graph offers, in their order."""
    return tuple(
        spec
        for spec in outputs
        if spec.axes and spec.axes[0].kind == "row" and all(axis.kind == "fixed" for axis in spec.axes[1:])
    )
