import pytest

from benchmarks.measure.interleave import LEAST_PAIRS, interleaved, order
from benchmarks.measure.ratio import CONFIDENCE, median_interval


def test_sides_run_a_b_b_a():
    ran = []

    interleaved(lambda: ran.append("A"), lambda: ran.append("B"), 4)

    assert "".join(ran) == "ABBAABBA" == order(4)


def test_pairs_hold_a_first_whichever_ran_first():
    assert interleaved(lambda: "a", lambda: "b", 3) == [("a", "b")] * 3


def test_no_pairs_are_refused():
    with pytest.raises(ValueError, match="at least one pair"):
        interleaved(lambda: None, lambda: None, 0)


def test_least_pairs_are_just_enough_for_the_confidence():
    assert median_interval([1.0] * LEAST_PAIRS).coverage >= CONFIDENCE
    assert median_interval([1.0] * (LEAST_PAIRS - 1)).coverage < CONFIDENCE
