import asyncio

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.batching.collate import PaddedRows
from server.batching.cost import Work
from server.batching.lattice import Lattice
from server.manifest import FixedAxis, InputSpec, OutputSpec
from server.tensors import Datatype, bf16_to_float32, float32_to_bf16
from tests.support.requests import ECHO, IDS, MASK, SUM, make_request
from tests.support.row_sums import layout_of, run_sums, work_of

LOOP = asyncio.new_event_loop()
ALL = ("echo", "sum", "moment")


@pytest.fixture(scope="module", autouse=True)
def _close_loop():
    yield
    LOOP.close()


def request(length, rows=1, **more):
    return make_request(length, rows, loop=LOOP, **{"outputs": ALL, **more})


def answers(layout, requests):
    return list(layout.split(run_sums(layout.collate(requests), requests[0].outputs), requests))


Lattices = st.one_of(st.just(Lattice.exact()), st.builds(Lattice.graded, st.just(64), step=st.integers(1, 8)))


@given(st.lists(st.tuples(st.integers(1, 20), st.integers(1, 4)), min_size=1, max_size=10), Lattices, Lattices)
def test_split_undoes_collate_and_padding_never_changes_a_row(shapes, lattice, row_lattice):
    layout = layout_of("rows", lattice, row_lattice)
    requests = [request(length, rows, first=100 * i + 1) for i, (length, rows) in enumerate(shapes)]
    results = answers(layout, requests)
    assert len(results) == len(requests)
    for one, result in zip(requests, results, strict=True):
        (alone,) = answers(layout_of("rows"), [one])
        assert list(result) == list(ALL)
        assert all(np.array_equal(result[name], alone[name]) for name in ALL)
        assert np.array_equal(result["echo"], one.inputs["ids"])


@given(st.lists(st.tuples(st.integers(1, 20), st.integers(1, 4)), min_size=1, max_size=10), Lattices, Lattices)
def test_the_work_of_a_batch_is_known_before_it_is_built(shapes, lattice, row_lattice):
    layout = layout_of("rows", lattice, row_lattice)
    requests = [request(length, rows) for length, rows in shapes]
    rows, tokens = sum(one.rows for one in requests), sum(one.tokens for one in requests)
    predicted = layout.work(rows, tokens, max(one.length for one in requests))
    assert predicted == work_of(layout.collate(requests))


def test_work_counts_rows_of_the_longest_length():
    assert layout_of("rows").work(3, 17, 10) == Work(3, 30, 300)


def test_padding_is_the_inputs_own():
    spec = IDS.model_copy(update={"pad": 7})
    batch = PaddedRows([spec, MASK], [ECHO]).collate([request(1), request(3)])
    assert batch["ids"].tolist() == [[1, 7, 7], [1, 2, 3]]
    assert batch["mask"].tolist() == [[True, False, False], [True] * 3]


def test_padding_of_bf16_is_its_pattern():
    spec = IDS.model_copy(update={"datatype": Datatype.BF16, "pad": -1})
    requests = [request(length) for length in (1, 3)]
    for one in requests:
        one.inputs = {"ids": float32_to_bf16(one.inputs["ids"].astype(np.float32))}
    assert bf16_to_float32(PaddedRows([spec], [ECHO]).collate(requests)["ids"]).tolist() == [[1, -1, -1], [1, 2, 3]]


def test_a_single_request_is_not_copied():
    one = request(3)
    assert layout_of("rows").collate([one])["ids"] is one.inputs["ids"]


def test_an_input_without_a_row_axis_passes_through():
    scale = InputSpec(name="scale", datatype=Datatype.FP32, axes=(FixedAxis(size=1),))
    one = request(3)
    one.inputs = {**one.inputs, "scale": np.ones(1, np.float32)}
    assert PaddedRows([IDS, MASK, scale], [ECHO]).collate([one])["scale"] is one.inputs["scale"]


def test_answers_of_a_batch_do_not_keep_the_batch_in_memory():
    results = answers(layout_of("rows"), [request(2), request(5)])
    assert results[0]["echo"].base is None


def test_only_the_outputs_asked_for_are_returned():
    one = request(2, outputs=("sum",))
    assert list(answers(layout_of("rows"), [one])[0]) == ["sum"]


def test_an_output_without_a_row_axis_is_everybodys():
    version = OutputSpec(name="version", datatype=Datatype.INT64, axes=())
    one = request(2, outputs=("version",))
    (result,) = PaddedRows([IDS, MASK], [version]).split({"version": np.array(3)}, [one])
    assert result["version"] == 3


def test_an_output_with_the_wrong_number_of_rows_is_an_error():
    layout = PaddedRows([IDS, MASK], [ECHO, SUM])
    with pytest.raises(ValueError, match="for 2 rows"):
        list(layout.split({"echo": np.zeros((3, 2)), "sum": np.zeros((2, 1))}, [request(2), request(2)]))
