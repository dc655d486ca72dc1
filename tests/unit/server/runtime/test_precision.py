import numpy as np
import pytest

from server.errors import ArtifactCorrupt
from server.runtime.precision import PrecisionError, measure_error


def floats(*rows):
    return np.array(rows, np.float32)


def measured(answer, expected):
    return measure_error([{"y": answer}], [{"y": expected}])


def test_equal_answers_have_no_error():
    error = measured(floats([1, 2], [0, 0]), floats([1, 2], [0, 0]))
    assert error == PrecisionError(0.0, 1.0, {"y": PrecisionError(0.0, 1.0)})


def test_the_largest_difference_and_the_smallest_cosine_of_any_row_are_found():
    error = measured(floats([3, 0], [0, 1.5]), floats([3, 0], [1, 1]))
    assert error.max_error == 1.0
    assert error.min_cosine == pytest.approx(np.sqrt(0.5))


def test_a_row_that_is_only_scaled_points_alike():
    error = measured(floats([2, 4]), floats([1, 2]))
    assert (error.max_error, error.min_cosine) == (2.0, pytest.approx(1.0))


def test_all_runs_and_outputs_count_and_each_output_is_told():
    error = measure_error(
        [{"a": floats([1]), "b": floats([1, 0])}, {"a": floats([1.5]), "b": floats([0, 1])}],
        [{"a": floats([1]), "b": floats([1, 0])}, {"a": floats([1]), "b": floats([1, 0])}],
    )
    assert error.by_output == {"a": PrecisionError(0.5, 1.0), "b": PrecisionError(1.0, 0.0)}
    assert (error.max_error, error.min_cosine) == (1.0, 0.0)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_an_answer_that_is_not_finite_is_as_far_off_as_can_be(wrong):
    error = measured(floats([1, wrong]), floats([1, 2]))
    assert (error.max_error, error.min_cosine) == (np.inf, -1.0)


def test_what_is_not_finite_in_both_is_equal():
    error = measured(floats([1, np.nan, -np.inf]), floats([1, np.nan, -np.inf]))
    assert (error.max_error, error.min_cosine) == (0.0, 1.0)


def test_a_zero_vector_for_another_has_no_direction():
    assert measured(floats([0, 0]), floats([1, 0])).min_cosine == 0.0


def test_outputs_of_other_datatypes_are_not_compared():
    words = np.array([b"a"], dtype=object)
    error = measure_error([{"n": np.array([1]), "w": words}], [{"n": np.array([2]), "w": np.array([b"b"])}])
    assert error == PrecisionError(0.0, 1.0)


def test_empty_arrays_and_scalars_are_measured():
    assert measured(floats().reshape(0, 3), floats().reshape(0, 3)).min_cosine == 1.0
    assert measured(np.float32(2), np.float32(3)).max_error == 1.0


@pytest.mark.parametrize("answer", [{}, {"y": floats([1, 2, 3])}])
def test_a_missing_or_misshapen_answer_is_refused(answer):
    with pytest.raises(ArtifactCorrupt, match="output y"):
        measure_error([answer], [{"y": floats([1, 2])}])
