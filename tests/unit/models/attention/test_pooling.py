import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.attention import AttentionPooling


def test_weights_and_context_equal_the_formula_in_float64():
    torch.manual_seed(0)
    pooling = AttentionPooling(4, 3).double()
    source = torch.randn(5, 4, dtype=torch.float64)
    context, weights = pooling(source)
    w, b, u = (p.detach().numpy() for p in (pooling.project.weight, pooling.project.bias, pooling.query))
    exponentials = np.exp([u.dot(np.tanh(w.dot(source[s].numpy()) + b)) for s in range(5)])
    expected = exponentials / exponentials.sum()
    np.testing.assert_allclose(weights.detach().numpy(), expected, rtol=1e-12)
    np.testing.assert_allclose(context.detach().numpy(), expected @ source.numpy(), rtol=1e-12)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(0, 4))
def test_padding_changes_nothing(seed, length, padding):
    torch.manual_seed(seed)
    pooling = AttentionPooling(4)
    source = torch.randn(2, length + padding, 4)
    mask = (torch.arange(length + padding) < length).expand(2, -1)
    padded, alone = pooling(source, mask), pooling(source[:, :length])
    torch.testing.assert_close(padded.context, alone.context)
    assert (padded.weights[:, length:] == 0).all()
    torch.testing.assert_close(padded.weights.sum(-1), torch.ones(2))


def test_order_does_not_matter():
    pooling = AttentionPooling(4)
    source = torch.randn(2, 5, 4)
    torch.testing.assert_close(pooling(source.flip(1)).context, pooling(source).context)


def test_wholly_masked_and_empty_sequences_give_zeros():
    pooling = AttentionPooling(4)
    masked = pooling(torch.randn(1, 3, 4), torch.zeros(1, 3, dtype=torch.bool))
    assert masked.context.tolist() == [[0.0] * 4]
    assert masked.weights.tolist() == [[0.0] * 3]
    assert pooling(torch.zeros(2, 0, 4)).context.tolist() == [[0.0] * 4] * 2


def test_gradient_reaches_all_parameters():
    torch.manual_seed(0)
    pooling = AttentionPooling(4)
    pooling(torch.randn(2, 5, 4)).context.square().sum().backward()
    for name, parameter in pooling.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_source_of_another_width_is_refused():
    with pytest.raises(ValueError, match="source is 3 wide, expected 4"):
        AttentionPooling(4)(torch.zeros(2, 5, 3))
