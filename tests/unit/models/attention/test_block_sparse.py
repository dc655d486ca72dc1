import numpy as np
import pytest
import torch

from models.attention import BlockSparseAttention, ScaledDotProductAttention, padding_mask, spread_block_sparse

patterns = pytest.mark.parametrize(
    ("block", "columns", "causal"), [(3, 1, False), (3, 3, False), (4, 2, True), (1, 1, True), (30, 2, False)]
)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def seen_by(t: int, length: int, block: int, columns: int, causal: bool) -> list[int]:
    """Child et al. 2019, 4.3: A1, the own block, and A2, the last `columns` of every block."""
    return [
        s
        for s in range(length)
        if (s // block == t // block or s % block >= block - columns) and (s <= t or not causal)
    ]


def pattern(length: int, *shape) -> torch.Tensor:
    mask = torch.zeros(length, length, dtype=torch.bool)
    for t in range(length):
        mask[t, seen_by(t, length, *shape)] = True
    return mask


def test_equals_the_formula_in_float64():
    query, key, value = (torch.randn(8, 4, dtype=torch.float64) for _ in range(3))
    context, weights = BlockSparseAttention(3, 1)(query, key, value)
    dense = spread_block_sparse(weights, 3, 1)
    for t in range(8):
        seen = seen_by(t, 8, 3, 1, False)
        exponentials = np.exp([query[t].numpy().dot(key[s].numpy()) / 2 for s in seen])
        expected = exponentials / exponentials.sum()
        np.testing.assert_allclose(dense[t, seen].numpy(), expected, rtol=1e-12)
        np.testing.assert_allclose(context[t].numpy(), expected @ value.numpy()[seen], rtol=1e-12)


@patterns
@pytest.mark.parametrize("length", [1, 2, 3, 6, 7, 20])
def test_equals_scaled_dot_product_under_a_mask_of_the_pattern(length, block, columns, causal):
    query, key, value = torch.randn(2, 3, length, 4), torch.randn(2, 3, length, 4), torch.randn(2, 3, length, 5)
    mask = padding_mask(torch.rand(2, length) < 0.7)
    context, weights = BlockSparseAttention(block, columns, causal=causal)(query, key, value, mask)
    expected = ScaledDotProductAttention()(query, key, value, mask & pattern(length, block, columns, causal))
    assert weights.shape == (2, 3, length, block + -(-length // block) * columns)
    torch.testing.assert_close(spread_block_sparse(weights, block, columns), expected.weights)
    torch.testing.assert_close(context, expected.context)


def test_any_key_before_it_reaches_a_query_in_two_layers():
    mechanism = BlockSparseAttention(3, 1, causal=True)
    states = torch.randn(1, 9, 4, requires_grad=True)
    hidden = mechanism(states, states, states).context
    mechanism(hidden, hidden, hidden).context[0, 7].sum().backward()
    assert states.grad is not None
    assert (states.grad[0, :8].abs().amax(-1) > 0).all()
    assert (states.grad[0, 8] == 0).all()


def test_weights_of_a_long_input_are_far_fewer_than_its_pairs():
    states = torch.randn(1, 1024, 2)
    weights = BlockSparseAttention(32)(states, states, states).weights
    assert weights.numel() == 1024 * (32 + 32)


@pytest.mark.parametrize(("block", "columns"), [(0, 0), (3, 0), (3, 4)])
def test_columns_that_do_not_fit_the_block_are_refused(block, columns):
    with pytest.raises(ValueError, match="num_columns must lie between 1 and the block"):
        BlockSparseAttention(block, columns)
