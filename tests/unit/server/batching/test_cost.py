import math
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.batching.cost import (
    CORRECTION_BOUNDS,
    LEARNING_RATE,
    SIZE_CLASSES,
    Coefficients,
    Cost,
    Measurement,
    Work,
    fit,
    size_class,
)

SIZES = [Work(rows, rows * length, rows * length**2) for length in (8, 32, 128, 256) for rows in (1, 2, 4, 8, 16, 32)]


def measured(truth, noise=0.0, seed=0):
    random = Random(seed)
    return [Measurement(work, truth.seconds(work) * math.exp(random.gauss(0.0, noise))) for work in SIZES]


@pytest.mark.parametrize(
    "truth",
    [
        Coefficients(1e-3, 2e-4, 4e-5, 1e-8),
        Coefficients(1e-3, 0.0, 4e-5, 0.0),
        Coefficients(0.0, 0.0, 4e-5, 2e-8),
        Coefficients(5e-2, 0.0, 0.0, 0.0),
    ],
)
def test_without_noise_the_fit_finds_what_made_the_measurements(truth):
    found = fit(measured(truth))
    for work in SIZES:
        assert found.seconds(work) == pytest.approx(truth.seconds(work), rel=0.15)
    assert found.fixed_s == pytest.approx(truth.fixed_s, rel=0.3, abs=1e-4)


@given(
    st.builds(Coefficients, st.floats(1e-4, 1e-2), st.floats(0, 1e-3), st.floats(1e-6, 1e-3), st.floats(0, 1e-6)),
    st.integers(0, 100),
)
@settings(max_examples=40)
def test_under_noise_predictions_stay_close_at_every_size(truth, seed):
    found = fit(measured(truth, noise=0.1, seed=seed))
    misses = [found.seconds(work) / truth.seconds(work) for work in SIZES]
    assert all(0.65 < miss < 1.5 for miss in misses)
    assert 0.85 < sum(misses) / len(misses) < 1.15


works = st.builds(
    lambda rows, length: Work(rows, rows * length, rows * length**2), st.integers(1, 256), st.integers(1, 512)
)


@given(st.lists(st.builds(Measurement, works, st.floats(1e-7, 1e4)), min_size=1, max_size=30))
@settings(max_examples=60)
def test_no_coefficient_is_ever_negative_or_no_number(measurements):
    found = fit(measurements)
    parts = (found.fixed_s, found.row_s, found.token_s, found.pair_s)
    assert all(math.isfinite(part) and part >= 0 for part in parts)
    cost = Cost.measured(measurements)
    assert all(math.isfinite(cost.seconds(work)) and cost.seconds(work) > 0 for work in SIZES)


@pytest.mark.parametrize("seconds", [0.0, -1.0, math.nan, math.inf])
def test_a_measurement_that_is_no_time_is_refused(seconds):
    with pytest.raises(ValueError, match="positive time"):
        fit([Measurement(Work(1, 1, 1), 1.0), Measurement(Work(1, 2, 4), seconds)])


def test_nothing_measured_cannot_be_fitted():
    with pytest.raises(ValueError, match="needs measurements"):
        fit([])


def test_one_measurement_is_met():
    assert fit([Measurement(Work(2, 20, 200), 0.25)]).seconds(Work(2, 20, 200)) == pytest.approx(0.25)


def test_what_the_fit_misses_in_a_class_of_sizes_is_corrected_from_the_start():
    """Large runs fall out of the cache and cost twice: no linear model has that."""
    truth = Coefficients(1e-3, 0.0, 4e-5, 0.0)
    kinked = [Measurement(one.work, one.seconds * (2.0 if one.work.tokens > 512 else 1.0)) for one in measured(truth)]
    cost = Cost.measured(kinked)
    for one in kinked:
        assert cost.seconds(one.work) == pytest.approx(one.seconds, rel=0.35)


def test_sizes_that_were_not_measured_are_corrected_like_the_nearest():
    cost = Cost.measured([Measurement(Work(1, 16, 256), 1.0)])
    assert set(cost.corrections) == {cost.corrections[0]}


def test_corrections_converge_to_what_runs_take():
    truth, random = Coefficients(2e-3, 0.0, 9e-5, 0.0), Random(0)
    cost, work = Cost(Coefficients(1e-3, 0.0, 4e-5, 0.0)), Work(8, 256, 8192)
    for _ in range(300):
        cost.observe(work, truth.seconds(work) * math.exp(random.gauss(0.0, 0.2)))
    assert cost.seconds(work) == pytest.approx(truth.seconds(work), rel=0.1)
    assert cost.observed_runs == 300


def test_a_class_of_sizes_learns_by_itself():
    cost = Cost(Coefficients(1e-3, 0.0, 4e-5, 0.0))
    small, large = Work(1, 16, 256), Work(8, 1024, 131_072)
    before = cost.seconds(small)
    cost.observe(large, 10.0)
    assert cost.seconds(small) == before


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=50))
def test_absurd_times_move_a_prediction_within_bounds_only(times):
    cost, work = Cost(Coefficients(1e-3, 0.0, 4e-5, 0.0)), Work(1, 16, 256)
    for seconds in times:
        cost.observe(work, seconds)
    low, high = CORRECTION_BOUNDS
    fitted = cost.coefficients.seconds(work)
    assert low * fitted <= cost.seconds(work) <= high * fitted


@pytest.mark.parametrize("seconds", [3600.0, 1e300, 1e-300])
def test_one_absurd_run_moves_little(seconds):
    cost, work = Cost(Coefficients(1e-3, 0.0, 4e-5, 0.0)), Work(1, 16, 256)
    before = cost.seconds(work)
    cost.observe(work, seconds)
    assert cost.seconds(work) == pytest.approx(before, rel=LEARNING_RATE * CORRECTION_BOUNDS[1])


@pytest.mark.parametrize("seconds", [0.0, -1.0, math.nan, math.inf, -math.inf])
def test_what_is_no_time_teaches_nothing(seconds):
    cost = Cost(Coefficients(1e-3, 0.0, 4e-5, 0.0))
    cost.observe(Work(1, 16, 256), seconds)
    assert (cost.observed_runs, set(cost.corrections)) == (0, {1.0})


def test_size_classes_double_and_the_last_takes_all_above():
    assert [size_class(tokens) for tokens in (1, 2, 3, 4, 255, 256)] == [1, 2, 2, 3, 8, 9]
    assert size_class(10**12) == SIZE_CLASSES - 1
