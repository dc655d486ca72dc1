import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.export.packing import Padding, pack_rows, packed_tokens
from server import packed
from server.packed import PACKED_LAYOUTS, packed_inputs
from server.tensors import NUMPY_DTYPES
from tests.support.packed import INPUTS

MASKS = st.lists(st.lists(st.booleans(), min_size=1, max_size=8), min_size=1, max_size=5)


def row(first, *mask):
    """Ids that count up from `first`, under a mask."""
    ids = np.arange(first, first + len(mask), dtype=np.int64)
    return {"input_ids": ids[None], "mask": np.array([mask])}


def as_lists(batch):
    return {name: array.tolist() for name, array in batch.items()}


def test_block_diagonal_batch_is_written_as_the_contract_says():
    rows = [row(10, True, False, True), row(20, True)]
    assert as_lists(pack_rows(rows, INPUTS, "block-diagonal", Padding(tokens=2, rows=1))) == {
        "input_ids": [10, 12, 20, 0, 0],
        packed.POSITIONS: [0, 2, 0, 0, 0],
        packed.SEGMENTS: [0, 0, 1, -1, -1],
        packed.ROWS: [0, 1, 2],
    }


def test_gathered_batch_is_written_as_the_contract_says():
    rows = [row(10, True), row(20, True, False, True), row(30, False)]
    assert as_lists(pack_rows(rows, INPUTS, "gathered", Padding(tokens=1, rows=1, places=1))) == {
        "input_ids": [10, 20, 22, 0],
        packed.POSITIONS: [0, 0, 2, 0],
        packed.GATHER: [[0, 0, 0], [1, 2, 0], [0, 0, 0], [0, 0, 0]],
        packed.PRESENT: [[True, False, False], [True, True, False], [False] * 3, [False] * 3],
        packed.SCATTER: [0, 3, 4, 0],
    }


@pytest.mark.parametrize("layout", PACKED_LAYOUTS)
def test_rows_that_are_all_hidden_leave_one_token_of_padding(layout):
    batch = pack_rows([row(10, False, False)], INPUTS, layout)
    assert batch["input_ids"].tolist() == [0]
    assert batch.get(packed.SEGMENTS, np.array([packed.NO_ROW])).tolist() == [packed.NO_ROW]
    assert not batch.get(packed.PRESENT, np.array(False)).any()


@pytest.mark.parametrize("layout", PACKED_LAYOUTS)
@given(masks=MASKS, tokens=st.integers(0, 3), rows=st.integers(0, 3), places=st.integers(0, 3))
def test_every_input_has_the_datatype_and_the_sizes_of_the_contract(layout, masks, tokens, rows, places):
    packed_rows = [row(10, *mask) for mask in masks]
    batch = pack_rows(packed_rows, INPUTS, layout, Padding(tokens, rows, places))
    kept = [sum(mask) for mask in masks]
    assert packed_tokens(packed_rows, INPUTS) == sum(kept)
    sizes = {
        "tokens": max(1, sum(kept) + tokens),
        "rows": len(masks) + rows,
        "longest": max(1, *kept) + places,
    }
    specs = packed_inputs(INPUTS, layout)
    assert batch.keys() == {spec.name for spec in specs}
    for spec in specs:
        assert batch[spec.name].dtype == NUMPY_DTYPES[spec.datatype]
        assert batch[spec.name].shape == tuple(sizes[axis] for axis in spec.axes)


@given(MASKS)
def test_gather_and_scatter_undo_each_other(masks):
    rows = [row(10, *mask) for mask in masks]
    batch = pack_rows(rows, INPUTS, "gathered", Padding(tokens=2, rows=1, places=1))
    tokens = np.arange(packed_tokens(rows, INPUTS))
    in_rows = batch[packed.GATHER].ravel()
    assert (in_rows[batch[packed.SCATTER][: len(tokens)]] == tokens).all()
    assert (np.flatnonzero(batch[packed.PRESENT]) == batch[packed.SCATTER][: len(tokens)]).all()


def test_model_without_a_mask_packs_all_tokens():
    ids = {"input_ids": np.array([[5, 6]])}
    assert pack_rows([ids], INPUTS[:1], "block-diagonal")["input_ids"].tolist() == [5, 6]
