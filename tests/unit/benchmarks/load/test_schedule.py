import numpy as np
import pytest

from benchmarks.load.schedule import poisson_arrivals


def test_same_seed_gives_the_same_arrivals():
    assert np.array_equal(poisson_arrivals(100, 5, seed=1), poisson_arrivals(100, 5, seed=1))


def test_arrivals_ascend_within_the_duration():
    times = poisson_arrivals(100, 5, seed=1)

    assert (np.diff(times) >= 0).all()
    assert times[0] >= 0
    assert times[-1] < 5


def test_gaps_are_exponential():
    gaps = np.diff(poisson_arrivals(1000, 100, seed=3))

    # Mean and standard deviation of an exponential are equal; 100,000 gaps put both within one percent.
    assert gaps.mean() == pytest.approx(1e-3, rel=0.01)
    assert gaps.std() == pytest.approx(1e-3, rel=0.02)


@pytest.mark.parametrize(("rate", "duration"), [(0, 1), (1, 0), (float("nan"), 1)])
def test_rate_or_duration_that_means_nothing_is_refused(rate, duration):
    with pytest.raises(ValueError, match="above zero"):
        poisson_arrivals(rate, duration, seed=0)
