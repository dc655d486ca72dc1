import asyncio

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.batching.collate import collate, split
from server.tensors import Datatype, bf16_to_float32, float32_to_bf16
from tests.support.requests import ECHO, IDS, MASK, SUM, make_request

LOOP = asyncio.new_event_loop()
OUTPUTS = {"echo": ECHO, "sum": SUM}


@pytest.fixture(scope="module", autouse=True)
def _close_loop():
    yield
    LOOP.close()


def run(batch):
    """Echoes the ids and sums those that the mask lets through."""
    return {"echo": batch["ids"], "sum": (batch["ids"] * batch["mask"]).sum(axis=1, keepdims=True)}


@given(st.lists(st.tuples(st.integers(1, 20), st.integers(1, 4)), min_size=1, max_size=10))
def test_split_undoes_collate_and_padding_never_changes_a_row(shapes):
    requests = [make_request(length, rows, first=100 * i + 1, loop=LOOP) for i, (length, rows) in enumerate(shapes)]
    results = list(split(run(collate(requests, [IDS, MASK])), requests, OUTPUTS))
    assert len(results) == len(requests)
    for request, result in zip(requests, results, strict=True):
        assert np.array_equal(result["echo"], request.inputs["ids"])
        assert np.array_equal(result["sum"], request.inputs["ids"].sum(axis=1, keepdims=True))


def test_padding_of_bf16_is_its_pattern():
    spec = IDS.model_copy(update={"datatype": Datatype.BF16, "pad": -1})
    requests = [make_request(length, loop=LOOP) for length in (1, 3)]
    for request in requests:
        request.inputs = {"ids": float32_to_bf16(request.inputs["ids"].astype(np.float32))}
    assert bf16_to_float32(collate(requests, [spec])["ids"]).tolist() == [[1, -1, -1], [1, 2, 3]]


def test_a_single_request_is_not_copied():
    request = make_request(3, loop=LOOP)
    assert collate([request], [IDS, MASK])["ids"] is request.inputs["ids"]


def test_answers_of_a_batch_do_not_keep_the_batch_in_memory():
    requests = [make_request(2, loop=LOOP), make_request(5, loop=LOOP)]
    results = list(split(run(collate(requests, [IDS, MASK])), requests, OUTPUTS))
    assert results[0]["echo"].base is None


def test_only_the_outputs_asked_for_are_returned():
    request = make_request(2, outputs=("sum",), loop=LOOP)
    assert list(next(split(run(dict(request.inputs)), [request], OUTPUTS))) == ["sum"]


def test_an_output_with_the_wrong_number_of_rows_is_an_error():
    requests = [make_request(2, loop=LOOP), make_request(2, loop=LOOP)]
    with pytest.raises(ValueError, match="for 2 rows"):
        list(split({"echo": np.zeros((3, 2)), "sum": np.zeros((2, 1))}, requests, OUTPUTS))
