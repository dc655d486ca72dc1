import pytest
import torch

from models.attention import causal_mask
from models.attention.offsets import add_head_bias, key_offsets, query_positions


def test_queries_are_the_last_of_the_positions():
    assert query_positions(3, 3).tolist() == [0, 1, 2]
    assert query_positions(2, 5).tolist() == [3, 4]
    assert query_positions(2, 0).tolist() == [-2, -1]


def test_offsets_are_negative_for_the_past():
    assert key_offsets(2, 4).tolist() == [[-2, -1, 0, 1], [-3, -2, -1, 0]]


@pytest.mark.parametrize(("target", "source"), [(4, 4), (1, 6), (2, 5)])
def test_the_causal_mask_is_where_no_offset_is_positive(target, source):
    assert torch.equal(key_offsets(target, source) <= 0, causal_mask(target, source)[0, 0])


@pytest.mark.parametrize("shape", [(4, 2, 3), (5, 4, 2, 3), (5, 2, 2, 2, 3), (5, 1, 4, 2, 3), (5, 4, 1, 2, 3)])
def test_each_head_gets_its_own_bias_grouped_or_not(shape):
    bias = torch.arange(4.0)[:, None, None].expand(4, 2, 3)
    shifted = add_head_bias(torch.zeros(shape), bias)
    assert torch.equal(shifted.reshape(-1, 4, 2, 3)[0], bias)


@pytest.mark.parametrize("shape", [(2, 3), (5, 2, 3), (5, 3, 2, 3), (5, 3, 2, 2, 3)])
def test_scores_of_other_heads_are_refused(shape):
    with pytest.raises(ValueError, match="do not have the 4 heads"):
        add_head_bias(torch.zeros(shape), torch.zeros(4, 2, 3))
