from dataclasses import replace

import pytest
import torch
from torch import nn

from models.networks import BlockConfig
from models.networks.block import Block, feed_forward, last_norm

TINY = BlockConfig.tiny()


@pytest.mark.parametrize("norm_first", [True, False], ids=["pre-norm", "post-norm"])
def test_the_norm_stands_before_the_sublayer_or_after_the_sum(norm_first):
    torch.manual_seed(0)
    block, norm, sublayer = Block(replace(TINY, norm_first=norm_first)), nn.LayerNorm(8), nn.Linear(8, 8)
    hidden = torch.randn(2, 3, 8)
    left = block._leave(norm, hidden, sublayer(block._enter(norm, hidden)))
    expected = hidden + sublayer(norm(hidden)) if norm_first else norm(hidden + sublayer(hidden))
    assert torch.equal(left, expected)


@pytest.mark.parametrize("norm_first", [True, False], ids=["pre-norm", "post-norm"])
def test_states_of_another_width_are_refused(norm_first):
    with pytest.raises(ValueError, match="hidden is 7 wide, expected 8"):
        Block(replace(TINY, norm_first=norm_first))._enter(nn.LayerNorm(8), torch.zeros(2, 3, 7))


def test_feed_forward_transforms_each_position_by_itself():
    torch.manual_seed(0)
    layers = feed_forward(replace(TINY, dropout=0.0))
    hidden = torch.randn(2, 3, 8)
    first, last = layers[0], layers[3]
    assert first.out_features == TINY.d_ff
    expected = last(nn.functional.gelu(first(hidden[1, 2])))
    torch.testing.assert_close(layers(hidden)[1, 2], expected)


def test_only_a_pre_norm_stack_is_closed_by_a_norm():
    assert isinstance(last_norm(TINY), nn.LayerNorm)
    assert isinstance(last_norm(replace(TINY, norm_first=False)), nn.Identity)
