import pytest

from models.training.schedule import warmup_cosine


def test_the_rate_rises_to_its_peak_and_falls_to_zero():
    rates = [warmup_cosine(step, 100, 10) for step in range(101)]
    assert rates[:10] == sorted(rates[:10])
    assert rates[0] > 0
    assert max(rates) == rates[10] == 1.0
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[55] == pytest.approx(0.5)
    assert rates[100] == pytest.approx(0.0)


def test_the_rate_stays_zero_beyond_the_end():
    assert warmup_cosine(1000, 100, 10) == pytest.approx(0.0)


def test_without_warm_up_the_peak_comes_first():
    assert warmup_cosine(0, 100, 0) == 1.0
