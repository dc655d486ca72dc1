import math

import pytest

from benchmarks.measure.ratio import geometric_mean, median_interval, paired_ratio


def test_ratio_is_the_median_of_the_pairs_ratios_by_hand():
    # Ratios 2, 1.5, 1.25, 1, 3, 2.5; sorted 1, 1.25, 1.5, 2, 2.5, 3: the median lies between 1.5 and 2.
    pairs = [(4.0, 2.0), (3.0, 2.0), (5.0, 4.0), (7.0, 7.0), (9.0, 3.0), (5.0, 2.0)]

    found = paired_ratio(pairs)

    assert found.value == 1.75
    assert (found.low, found.high) == (1.0, 3.0)  # six fair coins: all alike with probability 2/64
    assert found.coverage == 1 - 2 / 64
    assert found.pairs == 6


def test_ratio_is_not_that_of_the_medians():
    # The machine slowed down ten times after the first pair: medians over all would mix fast runs with slow ones.
    pairs = [(20.0, 10.0), (2.0, 1.0), (2.0, 1.0)]

    assert paired_ratio(pairs).value == 2.0


def test_nine_pairs_leave_one_out_at_either_end():
    found = median_interval([9.0, 1.0, 8.0, 2.0, 7.0, 3.0, 6.0, 4.0, 5.0])

    # The sign test for n = 9: P(at most 1 of 9) = 10/512, twice that is 0.039; with 2 left out it would be 0.18.
    assert (found.value, found.low, found.high) == (5.0, 2.0, 8.0)
    assert found.coverage == pytest.approx(1 - 20 / 512)


def test_five_pairs_say_that_they_do_not_reach_95_percent():
    found = median_interval([1.0, 2.0, 3.0, 4.0, 5.0])

    assert (found.low, found.high) == (1.0, 5.0)
    assert found.coverage == pytest.approx(0.9375)


def test_single_pair_is_an_interval_that_holds_nothing():
    found = median_interval([1.5])

    assert (found.value, found.low, found.high, found.coverage) == (1.5, 1.5, 1.5, 0.0)


def test_geometric_mean_is_taken_pair_by_pair():
    found = geometric_mean([[2.0, 1.0, 4.0], [0.5, 4.0, 1.0]])

    assert found.value == pytest.approx(2.0)  # the means are 1, 2 and 2
    assert found.low == pytest.approx(1.0)


@pytest.mark.parametrize("pair", [(0.0, 1.0), (1.0, 0.0), (-1.0, 1.0), (math.inf, 1.0), (math.nan, 1.0)])
def test_value_that_no_ratio_can_be_taken_of_is_refused(pair):
    with pytest.raises(ValueError, match="two positive numbers"):
        paired_ratio([pair])


def test_no_pairs_are_refused():
    with pytest.raises(ValueError, match="no pair"):
        paired_ratio([])
