import numpy as np
import pytest

from benchmarks.load.writing import Comparison, Greedy, WritingList, evenly, share_within

RIGHT = Greedy(np.array([7, 8, 9, 7]), np.array([2.0, 0.01, 3.0, 1.0], dtype=np.float32))


def test_lengths_are_spread_evenly_between_their_bounds():
    lengths = evenly(8, 64, 96, np.random.default_rng(0))

    assert (lengths.min(), lengths.max()) == (8, 64)
    assert lengths.mean() == pytest.approx(36, abs=0.1)
    assert sorted(lengths.tolist()) != lengths.tolist()


def test_few_lengths_lie_within_their_bounds():
    assert evenly(10, 10, 3, np.random.default_rng(0)).tolist() == [10, 10, 10]


def test_lists_that_want_other_lengths_are_other_lists():
    rows, texts = (np.array([1, 2]),), ("w1 w2",)

    assert WritingList(rows, texts, (5,)).digest() != WritingList(rows, texts, (6,)).digest()


def test_equal_text_is_right():
    comparison = Comparison()

    assert comparison.add([7, 8, 9, 7], RIGHT, tolerance=0.1)
    assert comparison == Comparison(texts=1, tokens=4, tokens_alike=4)


def test_text_may_leave_what_is_right_at_a_tie_and_nothing_after_that_is_compared():
    comparison = Comparison()

    assert comparison.add([7, 5, 5, 5], RIGHT, tolerance=0.1)
    assert comparison == Comparison(texts=1, tokens=4, tokens_alike=1, parted_at_tie=1)


def test_text_that_leaves_what_is_right_elsewhere_is_wrong():
    comparison = Comparison()

    assert not comparison.add([7, 8, 5, 7], RIGHT, tolerance=0.1)
    assert comparison == Comparison(texts=1, tokens=4, tokens_alike=2, unequal=1)


@pytest.mark.parametrize("ids", [[7, 8, 9], [7, 8, 9, 7, 7], []])
def test_text_of_another_length_is_wrong(ids):
    comparison = Comparison()

    assert not comparison.add(ids, RIGHT, tolerance=0.1)
    assert comparison.unequal == 1


@pytest.mark.parametrize(
    ("began", "done", "share"),
    [(1.0, 2.0, 1.0), (0.5, 1.5, 0.5), (2.5, 3.5, 0.5), (0.0, 4.0, 0.5), (0.0, 1.0, 0.0), (3.0, 4.0, 0.0), (1, 1, 1)],
)
def test_share_of_a_time_within_another(began, done, share):
    assert share_within(began, done, 1.0, 3.0) == share
