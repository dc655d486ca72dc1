import pytest
import torch

from models.attention.shapes import check_lengths, check_one_sequence, key_mask

KEY = torch.zeros(2, 3, 5, 4)


def test_key_and_value_of_different_lengths_are_refused():
    check_lengths(torch.zeros(2, 5, 4), torch.zeros(2, 5, 3))
    with pytest.raises(ValueError, match="key has 5 positions and value 4"):
        check_lengths(torch.zeros(2, 5, 4), torch.zeros(2, 4, 4))


@pytest.mark.parametrize(
    ("query", "key", "value", "message"),
    [
        ((4, 2), (5, 2), (5, 2), "query has 4 positions and key 5"),
        ((5, 3), (5, 2), (5, 2), "key is 2 wide, expected 3"),
        ((5, 2), (5, 2), (4, 2), "key has 5 positions and value 4"),
    ],
)
def test_what_is_not_one_sequence_is_refused(query, key, value, message):
    with pytest.raises(ValueError, match=message):
        check_one_sequence(torch.zeros(query), torch.zeros(key), torch.zeros(value))


@pytest.mark.parametrize("shape", [(5,), (1, 5), (2, 1, 1, 5), (2, 3, 1, 5), (1,), (1, 1)])
def test_mask_over_keys_is_the_same_for_every_query(shape):
    mask = torch.rand(shape) < 0.5
    expected = mask.expand(2, 3, 1, 5)[..., 0, :]
    assert torch.equal(key_mask(mask, KEY), expected)


def test_no_mask_leaves_every_key():
    assert torch.equal(key_mask(None, KEY), torch.ones(2, 3, 5, dtype=torch.bool))


def test_mask_with_rows_for_queries_is_refused():
    with pytest.raises(ValueError, match=r"mask must be over keys alone, \(...,1,S\), not of shape \(2, 1, 5, 5\)"):
        key_mask(torch.ones(2, 1, 5, 5, dtype=torch.bool), KEY)


def test_mask_of_another_length_or_type_is_refused():
    with pytest.raises(ValueError, match="does not fit"):
        key_mask(torch.ones(2, 1, 1, 4, dtype=torch.bool), KEY)
    with pytest.raises(ValueError, match="mask must be bool"):
        key_mask(torch.ones(2, 1, 1, 5), KEY)
