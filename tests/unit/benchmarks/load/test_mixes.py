import numpy as np
import pytest

from benchmarks.load.mixes import LONGEST, MIXES


def lengths(mix: str, count: int = 512, seed: int = 0):
    return MIXES[mix].lengths(count, np.random.default_rng(seed))


def test_mixed_lengths_have_median_24_p95_128_and_at_most_256():
    found = lengths("mixed")

    assert np.median(found) == pytest.approx(24, abs=1)
    assert np.percentile(found, 95) == pytest.approx(128, rel=0.05)
    assert found.max() == LONGEST
    assert found.min() >= 1


@pytest.mark.parametrize(("mix", "least", "most"), [("short", 4, 16), ("long", 128, 256), ("sixteen", 16, 16)])
def test_uniform_lengths_keep_their_bounds(mix, least, most):
    found = lengths(mix)

    assert (found.min(), found.max()) == (least, most)


@pytest.mark.parametrize("mix", MIXES)
def test_another_seed_changes_the_order_alone(mix):
    one, other = lengths(mix, seed=1), lengths(mix, seed=2)

    assert np.array_equal(np.sort(one), np.sort(other))
    assert mix == "sixteen" or not np.array_equal(one, other)


@pytest.mark.parametrize("mix", MIXES)
def test_no_mix_is_longer_than_the_models_take(mix):
    assert lengths(mix, count=10_000).max() <= LONGEST
