import pytest
import torch

from models.attention import (
    GlobalWindowAttention,
    ScaledDotProductAttention,
    SlidingWindowAttention,
    padding_mask,
    spread_global_window,
)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def pattern(length: int, window: int, num_global: int) -> torch.Tensor:
    rows = torch.arange(length)
    near = (rows[:, None] - rows[None, :]).abs() <= window
    return near | (rows[:, None] < num_global) | (rows[None, :] < num_global)


@pytest.mark.parametrize("num_global", [1, 3])
@pytest.mark.parametrize("window", [1, 2, 7])
@pytest.mark.parametrize("length", [1, 2, 3, 6, 7, 20])
def test_equals_scaled_dot_product_under_a_mask_of_the_pattern(length, window, num_global):
    query, key, value = (torch.randn(2, 3, length, width, dtype=torch.float64) for width in (4, 4, 5))
    mask = padding_mask(torch.rand(2, length) < 0.7)
    attended = GlobalWindowAttention(window, num_global)(query, key, value, mask)
    expected = ScaledDotProductAttention()(query, key, value, mask & pattern(length, window, num_global))
    assert attended.weights.shape == (2, 3, length, num_global + 2 * window + 1)
    assert attended.global_weights.shape == (2, 3, num_global, length)
    torch.testing.assert_close(spread_global_window(attended), expected.weights)
    torch.testing.assert_close(attended.context, expected.context)


def test_rows_of_global_queries_are_in_the_global_weights_alone():
    states = torch.randn(1, 6, 4)
    attended = GlobalWindowAttention(1, 2)(states, states, states)
    assert (attended.weights[0, :2] == 0).all()
    torch.testing.assert_close(attended.weights[0, 2:].sum(-1), torch.ones(4))
    torch.testing.assert_close(attended.global_weights.sum(-1), torch.ones(1, 2))


def test_far_positions_reach_each_other_through_the_global_one_in_two_layers():
    near, both = SlidingWindowAttention(1), GlobalWindowAttention(1, 1)
    reached = {}
    for name, mechanism in (("near", near), ("both", both)):
        states = torch.randn(1, 9, 4, requires_grad=True)
        hidden = mechanism(states, states, states).context
        mechanism(hidden, hidden, hidden).context[0, 8].sum().backward()
        reached[name] = states.grad[0, 3].abs().sum().item()
    assert reached["near"] == 0
    assert reached["both"] > 0


@pytest.mark.parametrize(("window", "num_global"), [(0, 1), (1, 0)])
def test_window_or_global_positions_that_are_none_are_refused(window, num_global):
    with pytest.raises(ValueError, match="must be positive"):
        GlobalWindowAttention(window, num_global)
