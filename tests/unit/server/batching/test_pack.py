import asyncio

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from server import packed
from server.batching.cost import Work
from server.batching.lattice import Lattice
from server.batching.pack import BlockDiagonal
from server.manifest import InputSpec, RowAxis
from server.tensors import Datatype, float32_to_bf16
from tests.support.requests import IDS, MASK, SUM, make_request
from tests.support.row_sums import layout_of, run_sums, work_of

LOOP = asyncio.new_event_loop()
NAMES = ("sum", "moment")
PACKED = ("block-diagonal", "gathered")


@pytest.fixture(scope="module", autouse=True)
def _close_loop():
    yield
    LOOP.close()


def request(length, rows=1, first=1, mask=None):
    return make_request(length, rows, first=first, mask=mask, outputs=NAMES, loop=LOOP)


def answers(layout, requests):
    return list(layout.split(run_sums(layout.collate(requests), NAMES), requests))


@st.composite
def batches(draw):
    """Requests of one to four rows; some with a mask, which may hide any tokens, or all of a row."""
    requests = []
    for number in range(draw(st.integers(1, 8))):
        shape = draw(st.integers(1, 4)), draw(st.integers(1, 20))
        mask = draw(st.none() | npst.arrays(np.bool_, shape))
        requests.append(request(shape[1], shape[0], 100 * number + 1, mask))
    return requests


Lattices = st.one_of(st.just(Lattice.exact()), st.builds(Lattice.graded, st.just(64), step=st.integers(1, 8)))


@pytest.mark.parametrize("name", PACKED)
@settings(max_examples=50)
@given(requests=batches(), lattice=Lattices, row_lattice=Lattices)
def test_packed_rows_are_answered_as_padded_ones(name, requests, lattice, row_lattice):
    results = answers(layout_of(name, lattice, row_lattice), requests)
    assert len(results) == len(requests)
    for one, result in zip(requests, results, strict=True):
        (alone,) = answers(layout_of("rows"), [one])
        assert list(result) == list(NAMES)
        assert all(np.array_equal(result[output], alone[output]) for output in NAMES)


@pytest.mark.parametrize("name", PACKED)
@settings(max_examples=50)
@given(requests=batches(), lattice=Lattices, row_lattice=Lattices)
def test_inputs_are_what_the_contract_says(name, requests, lattice, row_lattice):
    """Names, order, datatypes and sizes, equal wherever an axis is named alike; tokens and rows on their lattices."""
    inputs = layout_of(name, lattice, row_lattice).collate(requests)
    declared = packed.packed_inputs([IDS, MASK], name)
    assert list(inputs) == [spec.name for spec in declared]
    sizes = {}
    for spec in declared:
        array = inputs[spec.name]
        assert array.dtype == (np.bool_ if spec.datatype is Datatype.BOOL else np.int64)
        for axis, size in zip(spec.axes, array.shape, strict=True):
            assert sizes.setdefault(axis, size) == size
    kept = sum(int(one.inputs["mask"].sum()) for one in requests)
    assert sizes["tokens"] == lattice.up(max(1, kept))
    assert sizes["rows"] == row_lattice.up(sum(one.rows for one in requests))


@pytest.mark.parametrize("name", PACKED)
@settings(max_examples=50)
@given(requests=batches(), lattice=Lattices, row_lattice=Lattices)
def test_a_batch_is_never_larger_than_was_predicted(name, requests, lattice, row_lattice):
    """And as large where no mask hides anything."""
    layout = layout_of(name, lattice, row_lattice)
    rows, tokens = sum(one.rows for one in requests), sum(one.tokens for one in requests)
    predicted = layout.work(rows, tokens, max(one.length for one in requests))
    built = work_of(layout.collate(requests))
    assert built.rows <= predicted.rows
    assert built.tokens <= predicted.tokens
    assert built.pairs <= predicted.pairs
    if all(one.inputs["mask"].all() for one in requests):
        assert built == predicted


@pytest.mark.parametrize("name", PACKED)
def test_a_token_keeps_the_place_that_it_had_before_others_were_hidden(name):
    mask = np.array([[True, False, True]])
    inputs = layout_of(name).collate([request(3, mask=mask), request(2, first=10)])
    assert inputs["ids"].tolist() == [1, 3, 10, 11]
    assert inputs[packed.POSITIONS].tolist() == [0, 2, 0, 1]


def test_block_diagonal_says_which_row_a_token_is_of_and_which_is_padding():
    inputs = layout_of("block-diagonal", Lattice((8,)), Lattice((4,))).collate([request(2, rows=2), request(1)])
    assert inputs[packed.SEGMENTS].tolist() == [0, 0, 1, 1, 2, -1, -1, -1]
    assert inputs[packed.ROWS].tolist() == [0, 1, 2, 3]
    assert inputs["ids"].tolist() == [1, 2, 3, 4, 1, 0, 0, 0]


def test_gathered_says_where_each_token_stands():
    inputs = layout_of("gathered", Lattice((4,)), Lattice((2,))).collate([request(2), request(1)])
    assert inputs[packed.GATHER].tolist() == [[0, 1, 0, 0], [2, 0, 0, 0]]
    assert inputs[packed.PRESENT].tolist() == [[True, True, False, False], [True, False, False, False]]
    assert inputs[packed.SCATTER].tolist() == [0, 1, 4, 0]


@pytest.mark.parametrize("name", PACKED)
def test_rows_of_which_every_token_is_hidden_are_answered(name):
    nothing = request(3, mask=np.zeros((1, 3), np.bool_))
    assert answers(layout_of(name), [nothing])[0]["sum"].tolist() == [[0]]
    assert [result["sum"].tolist() for result in answers(layout_of(name), [request(2), nothing])] == [[[3]], [[0]]]


def test_a_mask_of_ones_that_a_caller_sent_hides_nothing():
    inputs = layout_of("block-diagonal").collate([request(3, mask=np.ones((1, 3), np.bool_))])
    assert inputs["ids"].tolist() == [1, 2, 3]


def test_a_mask_in_bf16_hides_where_it_is_zero():
    mask = MASK.model_copy(update={"datatype": Datatype.BF16})
    one = request(3, mask=float32_to_bf16(np.array([[1, 0, 1]], np.float32)))
    layout = BlockDiagonal([IDS, mask], [SUM], Lattice.exact(), Lattice.exact())
    assert layout.collate([one])["ids"].tolist() == [1, 3]


def test_padding_tokens_are_the_inputs_own():
    spec = IDS.model_copy(update={"pad": 9})
    layout = BlockDiagonal([spec, MASK], [SUM], Lattice((4,)), Lattice.exact())
    assert layout.collate([request(2)])["ids"].tolist() == [1, 2, 9, 9]


def test_several_data_inputs_are_packed_alike():
    types = InputSpec(name="types", datatype=Datatype.INT64, axes=IDS.axes)
    one = request(3, mask=np.array([[True, False, True]]))
    one.inputs = {**one.inputs, "types": np.array([[5, 6, 7]])}
    layout = BlockDiagonal([IDS, types, MASK], [SUM], Lattice.exact(), Lattice.exact())
    assert layout.collate([one])["types"].tolist() == [5, 7]


def test_without_a_mask_input_all_tokens_are_packed():
    layout = BlockDiagonal([IDS], [SUM], Lattice.exact(), Lattice.exact())
    assert layout.collate([request(2), request(1)])["ids"].tolist() == [1, 2, 1]


def test_work_counts_what_attention_computes():
    assert layout_of("block-diagonal").work(3, 17, 10) == Work(3, 17, 17**2)
    assert layout_of("gathered").work(3, 17, 10) == Work(3, 17, 3 * 100)
    assert layout_of("block-diagonal", Lattice((32,)), Lattice((8,))).work(3, 17, 10) == Work(8, 32, 32**2)


@pytest.mark.parametrize("name", PACKED)
def test_an_output_with_the_wrong_number_of_rows_is_an_error(name):
    with pytest.raises(ValueError, match="for 2 rows"):
        list(layout_of(name).split({"sum": np.zeros((1, 1))}, [request(2), request(2)]))


def test_outputs_that_have_a_length_are_not_offered():
    per_token = SUM.model_copy(update={"name": "per_token", "axes": (RowAxis(), *IDS.axes[1:])})
    assert [spec.name for spec in packed.packed_outputs([SUM, per_token])] == ["sum"]


@pytest.mark.parametrize("name", PACKED)
def test_a_packed_run_takes_tokens_up_to_its_lattice_of_which_some_usually_stay_padding(name):
    layout = layout_of(name, Lattice((32, 64, 128)))
    assert layout.full(40) == (64, 8)
    assert layout_of(name).full(40) == (40, 0)
    assert layout_of("rows").full(40) == (40, 0)
