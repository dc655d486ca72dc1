"""Runs over live rows, without a lane: what is fed, what stays, and what a failure leaves behind."""

import numpy as np
import pytest

from server.generation.rows import LiveRows
from server.generation.slots import Slots
from server.generation.steps import CopiedSteps, SharedSteps, StepGraph, StepGraphs, make_steps, side_by_side
from tests.support.adder import BREAKS, Adder, number_of, scores_of

KINDS = pytest.mark.parametrize("kind", ["sums", "shared", "copied"])
ROWS = 6


class Written:
    """Rows of an adder, each with what it was fed."""

    def __init__(self, kind, encodes=False, max_new=4):
        self.adder = Adder(kind, encodes, max_new)
        manifest = self.adder.manifest()
        self.slots = Slots(manifest.states, max_rows=ROWS, max_bytes=2**20, first_rows=1, first_length=1)
        self.steps = make_steps(manifest.generation, manifest.states, self.slots, self.adder.graphs(), ROWS)
        self.rows = LiveRows(ROWS)
        self.fed = []

    def join(self, *tokens):
        start = {"source": np.zeros((1, 1), np.int64)} if self.adder.encodes else {}
        row = self.slots.join(start, 0).start
        self.rows.join(None, token=0, limit=9, forced=False, resting=False, beams=False)
        self.fed.append([])
        for token in tokens:
            self.read_and_check(row, token)
        return row

    def reserve(self, positions):
        if "position" in self.slots.lengths:
            self.slots.reserve(0, {"position": positions})

    def read_and_check(self, row, *tokens):
        held = int(self.rows.lengths[row])
        self.reserve(held + len(tokens))
        found = self.steps.alone(row, tokens, held, ())
        self.fed[row] += tokens
        self.rows.lengths[row] += len(tokens)
        np.testing.assert_array_equal(found.logits[0], scores_of(number_of(self.fed[row])))

    def step_and_check(self, *tokens, maps=()):
        """Feeds each row its token; rows that rest are told by `resting`. Checks the scores of the others."""
        self.rows.tokens[: self.rows.count, 0] = tokens
        self.reserve(self.rows.longest() + 1)
        found = self.steps.step(self.rows, maps)
        active = self.rows.active()
        self.rows.lengths[active] += 1
        for row in active:
            self.fed[row].append(tokens[row])
            np.testing.assert_array_equal(found.logits[row], scores_of(number_of(self.fed[row])))
        assert not self.adder.broken
        return found


@KINDS
def test_rows_of_any_length_are_stepped_together(kind):
    written = Written(kind)
    for tokens in ((5, 6, 7), (), (8,), (9, 10)):
        written.join(*tokens)
    for number in range(5):
        written.step_and_check(*range(3 + number, 7 + number))


@KINDS
def test_a_row_that_rests_is_as_it_was(kind):
    written = Written(kind)
    for token in (5, 6, 7):
        written.join(token)
    written.rows.resting[1] = True
    for number in range(3):
        written.step_and_check(8 + number, 20, 9)
    written.rows.resting[1] = False
    written.step_and_check(3, 4, 5)


@KINDS
def test_one_row_takes_several_tokens_at_once_beside_others(kind):
    written = Written(kind)
    written.join(5)
    row = written.join()
    written.rows.resting[row] = True
    written.read_and_check(row, 6, 7, 8)
    written.step_and_check(9, 20)
    written.read_and_check(row, 10)
    written.rows.resting[row] = False
    written.step_and_check(3, 4)


@KINDS
def test_a_step_that_fails_leaves_all_states_as_they_were(kind):
    written = Written(kind)
    for token in (5, 6, 7):
        written.join(token)
    written.rows.tokens[:3, 0] = 8, BREAKS, 9
    written.reserve(2)
    with pytest.raises(RuntimeError):
        written.steps.step(written.rows, ())
    written.step_and_check(3, 4, 5)


@KINDS
def test_a_row_that_fails_alone_leaves_all_states_as_they_were(kind):
    written = Written(kind)
    written.join(5)
    written.join(6)
    written.reserve(4)
    with pytest.raises(RuntimeError):
        written.steps.alone(1, [8, BREAKS], 1, ())
    written.step_and_check(3, 4)


def test_rows_of_unequal_lengths_share_no_run_where_the_graph_cannot_tell_them_apart():
    written = Written("copied")
    for tokens in ((5, 6), (7,), (8, 9), (3,)):
        written.join(*tokens)
    del written.adder.ran[:]
    written.step_and_check(3, 4, 5, 6)
    assert sorted(rows for _, rows, _ in written.adder.ran) == [2, 2]


def test_where_one_of_several_lengths_fails_no_row_has_gone_on():
    written = Written("copied")
    for tokens in ((5, 6), (7,)):
        written.join(*tokens)
    written.rows.tokens[:2, 0] = BREAKS, 3
    with pytest.raises(RuntimeError):
        written.steps.step(written.rows, ())
    written.step_and_check(4, 5)


@pytest.mark.parametrize("kind", ["shared", "copied"])
def test_weights_come_from_the_graph_that_gives_them_and_only_where_asked_for(kind):
    written = Written(kind)
    for tokens in ((5, 6), (7,)):
        written.join(*tokens)
    assert not written.step_and_check(3, 4).maps
    weights = written.step_and_check(5, 6, maps=("look_own",)).maps["look_own"]
    np.testing.assert_allclose(weights[0, 0, 0], np.array([6, 7, 4, 6]) / 23)
    np.testing.assert_allclose(weights[1, 0, 0, :3], np.array([8, 5, 7]) / 20)


def test_runs_are_bound_once_for_each_number_of_rows(monkeypatch):
    written = Written("sums")
    bound = []
    bind = written.adder._bind
    monkeypatch.setattr(written.adder, "_bind", lambda *arrays: bound.append(1) or bind(*arrays))
    written.steps.graphs = written.adder.graphs()
    for token in (5, 6, 7):
        written.join(token)
    del bound[:]
    for number in range(10):
        written.step_and_check(3 + number, 4, 5)
    assert len(bound) == 2, "states that are replaced have two buffers, which take turns"


def test_numbers_of_rows_that_are_quicker_as_columns_run_so():
    written = Written("sums")
    ran = []

    def graph(name):
        return StepGraph(lambda *arrays: ran.append(name) or written.adder._bind(*arrays), written.adder._step)

    written.steps.graphs = StepGraphs(graph("rows"), columns=graph("columns"), columns_rows=frozenset({2, 3}))
    for token in (5, 6, 7, 8):
        written.join(token)
        del ran[:]
        written.step_and_check(*range(3, 3 + written.rows.count))
        assert ran == ["columns" if written.rows.count in (2, 3) else "rows"]


def test_states_say_which_way_steps_run():
    assert isinstance(Written("sums").steps, SharedSteps)
    assert isinstance(Written("shared").steps, SharedSteps)
    assert isinstance(Written("copied").steps, CopiedSteps)


def test_weights_of_several_runs_are_put_side_by_side():
    parts = [
        (np.array([2, 0]), np.array([[[[1.0]]], [[[2.0]]]], np.float32)),
        (np.array([1]), np.array([[[[3.0, 4.0]]]], np.float32)),
    ]
    np.testing.assert_array_equal(side_by_side(4, parts)[:, 0, 0], [[2, 0], [3, 4], [1, 0], [0, 0]])
