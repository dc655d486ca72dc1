"""Rows that are stepped with given tokens, as golden rows are replayed and costs measured."""

import numpy as np
import pytest

from server.generation.slots import StatesFull
from server.loading.generation.trial import Trial
from tests.support.adder import Adder, number_of, scores_of

KINDS = pytest.mark.parametrize("kind", ["sums", "shared", "copied"])
START = {"source": np.array([[3, 4]])}


def scores(*fed):
    return scores_of(number_of(fed, (3, 4)))


@KINDS
def test_rows_that_begin_alike_are_stepped_together(kind):
    adder = Adder(kind)
    trial = Trial(adder.manifest(), adder.plain(), 4, 2**20)
    trial.join(START, 3)
    trial.step([5, 6, 7])
    np.testing.assert_array_equal(trial.step([8, 8, 8]), [scores(5, 8), scores(6, 8), scores(7, 8)])
    assert not adder.broken


@KINDS
def test_a_prompt_is_read_at_once(kind):
    adder = Adder(kind, max_new=4)
    trial = Trial(adder.manifest(), adder.plain(), 1, 2**20)
    trial.join(START, 1)
    np.testing.assert_array_equal(trial.read([5, 6, 7]), [scores(5, 6, 7)])
    np.testing.assert_array_equal(trial.read([8]), [scores(5, 6, 7, 8)])
    np.testing.assert_array_equal(trial.step([9]), [scores(5, 6, 7, 8, 9)])
    assert not adder.broken


@KINDS
def test_rows_after_clearing_begin_anew(kind):
    adder = Adder(kind)
    trial = Trial(adder.manifest(), adder.plain(), 4, 2**20)
    trial.join(START, 4)
    trial.step([5, 6, 7, 8])
    trial.clear()
    trial.join(START, 2)
    np.testing.assert_array_equal(trial.step([9, 10]), [scores(9), scores(10)])


def test_more_rows_than_can_be_held_are_refused():
    adder = Adder("sums")
    trial = Trial(adder.manifest(), adder.plain(), 4, 100)
    with pytest.raises(StatesFull):
        trial.join(START, 4)
