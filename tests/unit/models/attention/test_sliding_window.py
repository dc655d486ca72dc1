import numpy as np
import pytest
import torch

from models.attention import (
    MultiHeadAttention,
    ScaledDotProductAttention,
    SlidingWindowAttention,
    padding_mask,
    spread_band,
)

LENGTHS = [1, 2, 3, 6, 7, 20]


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def band(length: int, window: int) -> torch.Tensor:
    rows = torch.arange(length)
    return (rows[:, None] - rows[None, :]).abs() <= window


def test_equals_the_formula_in_float64():
    query, key, value = (torch.randn(6, 4, dtype=torch.float64) for _ in range(3))
    context, weights = SlidingWindowAttention(2)(query, key, value)
    for t in range(6):
        near = [s for s in range(6) if abs(t - s) <= 2]
        exponentials = np.exp([query[t].numpy().dot(key[s].numpy()) / 2 for s in near])
        expected = exponentials / exponentials.sum()
        np.testing.assert_allclose([weights[t, s - t + 2] for s in near], expected, rtol=1e-12)
        np.testing.assert_allclose(context[t].numpy(), expected @ value.numpy()[near], rtol=1e-12)


@pytest.mark.parametrize("window", [1, 2, 3, 7, 30])
@pytest.mark.parametrize("length", LENGTHS)
def test_equals_scaled_dot_product_under_a_mask_of_the_band(length, window):
    query, key, value = torch.randn(2, 3, length, 4), torch.randn(2, 3, length, 4), torch.randn(2, 3, length, 5)
    present = torch.rand(2, length) < 0.7
    context, weights = SlidingWindowAttention(window)(query, key, value, padding_mask(present))
    expected = ScaledDotProductAttention()(query, key, value, padding_mask(present) & band(length, window))
    assert weights.shape == (2, 3, length, 2 * window + 1)
    torch.testing.assert_close(spread_band(weights), expected.weights)
    torch.testing.assert_close(context, expected.context)


def test_gradients_are_those_of_the_masked_product():
    inputs = [torch.randn(1, 7, 4, requires_grad=True) for _ in range(3)]
    ours = torch.autograd.grad(SlidingWindowAttention(2)(*inputs).context.square().sum(), inputs)
    dense = ScaledDotProductAttention()(*inputs, band(7, 2))
    for gradient, expected in zip(ours, torch.autograd.grad(dense.context.square().sum(), inputs), strict=True):
        torch.testing.assert_close(gradient, expected)


def test_beyond_the_window_nothing_is_seen():
    states = torch.randn(1, 9, 4, requires_grad=True)
    SlidingWindowAttention(2)(states, states, states).context[0, 4].sum().backward()
    assert states.grad is not None
    assert (states.grad[0, [0, 1, 7, 8]] == 0).all()
    assert (states.grad[0, 2:7].abs().amax(-1) > 0).all()


def test_attends_inside_multi_head_attention():
    module = MultiHeadAttention(8, 2, mechanism=SlidingWindowAttention(2))
    whole = MultiHeadAttention(8, 2)
    whole.load_state_dict(module.state_dict())
    states, present = torch.randn(2, 7, 8), torch.arange(7) < torch.tensor([[7], [4]])
    context, weights = module(states, mask=padding_mask(present))
    expected = whole(states, mask=padding_mask(present) & band(7, 2))
    torch.testing.assert_close(context, expected.context)
    torch.testing.assert_close(spread_band(weights), expected.weights)


def test_dropout_acts_on_the_context_and_leaves_the_returned_weights_whole():
    mechanism, states = SlidingWindowAttention(2, dropout=0.5), torch.randn(1, 7, 4)
    trained = mechanism(states, states, states)
    evaluated = mechanism.eval()(states, states, states)
    assert torch.equal(trained.weights, evaluated.weights)
    assert not torch.allclose(trained.context, evaluated.context)


@pytest.mark.parametrize("window", [0, -1])
def test_window_without_neighbours_is_refused(window):
    with pytest.raises(ValueError, match="window must be positive"):
        SlidingWindowAttention(window)


def test_queries_over_another_sequence_are_refused():
    with pytest.raises(ValueError, match="must be one sequence"):
        SlidingWindowAttention(2)(torch.zeros(1, 4, 2), torch.zeros(1, 5, 2), torch.zeros(1, 5, 2))
