import numpy as np
import pytest

from server.batching.request import Rows
from server.errors import InferenceFailed, UndecodableInput
from server.generation.encoding import Encoder
from tests.support.adder import BREAKS, Adder


def source(*ids):
    inputs = {"ids": np.array([ids]), "mask": np.ones((1, len(ids)), np.bool_)}
    return Rows(inputs=inputs, outputs=("source",), rows=1, lengths={"length": len(ids)})


@pytest.fixture
def adder():
    return Adder("sums")


def test_sources_of_any_length_are_encoded_together_and_cropped_again(adder):
    encoder = Encoder(adder.manifest(), adder.encode)
    found = encoder.encode([source(5, 6, 7), source(8), source(9, 10)])
    assert [one.start["source"].tolist() for one in found] == [[[5, 6, 7]], [[8]], [[9, 10]]]
    assert [one.error for one in found] == [None] * 3
    assert adder.ran == [("encode", 3, ())]


def test_only_the_outputs_that_states_begin_with_are_fetched(adder):
    assert Encoder(adder.manifest(), adder.encode).outputs == ("source",)


def test_where_sources_fail_together_only_the_guilty_one_fails(adder, caplog):
    found = Encoder(adder.manifest(), adder.encode).encode([source(5), source(BREAKS), source(7)])
    assert [one.start["source"].tolist() if one.error is None else None for one in found] == [[[5]], None, [[7]]]
    assert isinstance(found[1].error, InferenceFailed)
    assert "broke" not in found[1].error.message
    assert [rows for _, rows, _ in adder.ran] == [3, 1, 1, 1]


def test_an_error_that_callers_may_see_is_kept(adder):
    def refuse(inputs, outputs):
        raise UndecodableInput("no such text")

    (found,) = Encoder(adder.manifest(), refuse).encode([source(5)])
    assert isinstance(found.error, UndecodableInput)


def test_a_run_costs_what_its_padded_batch_holds(adder):
    work = Encoder(adder.manifest(), adder.encode).work([source(5, 6, 7), source(8)])
    assert (work.rows, work.tokens) == (2, 6)
