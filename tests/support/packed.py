"""Rows of token ids with masks, padded or packed, for tests of both."""

from collections.abc import Sequence

import torch
from torch import Tensor

from models.export.packing import Padding, pack_rows
from server.manifest import InputSpec, LengthAxis, RowAxis
from server.packed import PackedLayout, packed_inputs
from server.tensors import Datatype

AXES = (RowAxis(), LengthAxis())
INPUTS = (
    InputSpec(name="input_ids", datatype=Datatype.INT64, axes=AXES),
    InputSpec(name="mask", datatype=Datatype.BOOL, axes=AXES, pad=False, role="mask"),
)


def rows_of(masks: Sequence[Sequence[bool]], vocabulary: int) -> list[tuple[Tensor, Tensor]]:
    """Random ids and the mask of each row, (1,T) both."""
    return [(torch.randint(vocabulary, (1, len(mask))), torch.tensor([list(mask)])) for mask in masks]


def packed_tensors(
    rows: Sequence[tuple[Tensor, Tensor]], layout: PackedLayout, padding: int
) -> tuple[Tensor, list[Tensor]]:
    """The packed ids, and what the layout is made of; `padding` more tokens, rows and places than needed."""
    named = [{"input_ids": ids.numpy(), "mask": mask.numpy()} for ids, mask in rows]
    batch = pack_rows(named, INPUTS, layout, Padding(padding, padding, padding))
    data, *places = (torch.from_numpy(batch[spec.name]) for spec in packed_inputs(INPUTS, layout))
    return data, places
