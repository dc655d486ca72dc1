import pytest

from models.networks.config import check_choice, check_positive, check_probability


@pytest.mark.parametrize("value", [0, -1, 1.0, True, "3"])
def test_what_is_not_a_positive_whole_number_is_refused_by_name(value):
    with pytest.raises(ValueError, match="d_ff must be a positive whole number"):
        check_positive(d_model=8, d_ff=value)


@pytest.mark.parametrize("value", [-0.1, 1.0, 1.5, float("nan")])
def test_what_is_not_a_probability_below_one_is_refused_by_name(value):
    with pytest.raises(ValueError, match="dropout must be at least 0 and below 1"):
        check_probability(dropout=value)


def test_unknown_choice_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match="pooling must be one of mean, attention, not 'max'"):
        check_choice("pooling", "max", ("mean", "attention"))


def test_values_in_range_pass():
    check_positive(d_model=1)
    check_probability(dropout=0.0, word_dropout=0.99)
    check_choice("pooling", "mean", ("mean",))
