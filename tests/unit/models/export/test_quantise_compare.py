import numpy as np
import pytest

from models.export.quantise_compare import Comparison, compare, cosine


def row(number):
    return {"x": np.array([[float(number)]])}


def echo(rows):
    """Answers each row with its number, and a one beside it."""
    return [{"answer": np.array([[one["x"].item(), 1.0]])} for one in rows]


def among_neighbours(rows):
    """Answers a row alone a tenth off, and in a batch off by what the largest of its neighbours is."""
    off = 0.1 if len(rows) == 1 else max(one["x"].item() for one in rows)
    return [{"answer": np.array([[one["x"].item() + off, 1.0]])} for one in rows]


def is_right(answer, one):
    return float(abs(answer["answer"][0, 0] - one["x"].item()) < 0.5)


def test_errors_are_the_largest_of_rows_alone_and_in_batches_and_scores_are_summed_apart():
    seen = Comparison()
    compare(echo, among_neighbours, [(row(0), row(2)), (row(3),)], is_right, seen)
    assert seen.error.largest == 2.0
    assert seen.alone.largest == pytest.approx(1.9)
    assert seen.largest_error == 2.0
    assert (seen.source_score, seen.alone_score, seen.batched_score, seen.rows) == (3.0, 3.0, 1.0, 3)
    assert seen.min_cosine == pytest.approx(cosine(np.array([0.0, 1.0]), np.array([2.0, 1.0])))


def test_without_a_score_nothing_is_counted():
    seen = Comparison()
    compare(echo, echo, [(row(1), row(2))], None, seen)
    assert (seen.rows, seen.largest_error, seen.min_cosine) == (0, 0.0, pytest.approx(1.0))


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        ([1.0, 0.0], [0.0, 2.0], 0.0),
        ([1.0, 2.0], [-2.0, -4.0], -1.0),
        ([0.0, 0.0], [0.0, 0.0], 1.0),
        ([0.0, 0.0], [0.0, 1.0], 0.0),
        ([], [], 1.0),
        ([1.0], [float("nan")], 0.0),
        ([1.0], [1.0, 1.0], 0.0),
    ],
)
def test_cosine_of_two_answers(ours, theirs, expected):
    assert cosine(np.array(ours), np.array(theirs)) == pytest.approx(expected)


def test_numbers_that_are_not_floating_point_have_no_direction():
    assert cosine(np.array([1]), np.array([2])) == 1.0
