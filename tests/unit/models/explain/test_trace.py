import torch
from torch import nn

from models.attention import AttentionPooling, MultiHeadAttention, SpatialSelfAttention
from models.explain.trace import sources, watched


class Shared(nn.Module):
    """Two layers that are one module, and a pooling beside them."""

    def __init__(self):
        super().__init__()
        self.attention = MultiHeadAttention(4, 2)
        self.pooling = AttentionPooling(4)

    def forward(self, hidden):
        first, first_weights = self.attention(hidden)
        second, second_weights = self.attention(first)
        return self.pooling(second).context, first_weights, second_weights


def test_each_output_is_traced_to_the_call_that_made_it():
    network = Shared()
    with watched(network) as seen:
        _, *outputs = network(torch.randn(1, 3, 4))
    for call, returned in enumerate(outputs):
        found = sources(returned, seen)
        assert [one.module for one in found] == [network.attention.mechanism, network.attention]
        assert {one.call for one in found} == {call}


def test_weights_seen_from_another_angle_are_the_same():
    module = SpatialSelfAttention(4)
    with watched(module) as seen:
        returned = module(torch.randn(1, 4, 2, 3)).weights
    innermost, outer = sources(returned, seen)
    assert (innermost.module, outer.module) == (module.mechanism, module)
    assert innermost.weights.shape == (1, 6, 6)
    assert sources(returned.clone(), seen) == ()


def test_nothing_is_watched_after_the_block():
    network = Shared()
    with watched(network) as seen:
        pass
    network(torch.randn(1, 3, 4))
    assert seen == []
