import numpy as np
import pytest
import torch

from models.attention import GroupedQueryAttention, MultiHeadAttention, RotaryAttention, causal_mask
from models.attention.rotary import rotate

K = 6


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def rotation(position: int) -> np.ndarray:
    """R_p of Su et al. 2021, equation 15: blocks [[cos, -sin], [sin, cos]] on the diagonal."""
    matrix = np.zeros((K, K))
    for i in range(K // 2):
        angle = position * 10_000.0 ** (-2 * i / K)
        matrix[2 * i : 2 * i + 2, 2 * i : 2 * i + 2] = [
            [np.cos(angle), -np.sin(angle)],
            [np.sin(angle), np.cos(angle)],
        ]
    return matrix


@pytest.mark.parametrize(("target", "source"), [(4, 4), (2, 5), (1, 3)])
def test_weights_equal_the_formula_in_float64_with_queries_at_the_last_positions(target, source):
    query, key = torch.randn(target, K, dtype=torch.float64), torch.randn(source, K, dtype=torch.float64)
    weights = RotaryAttention()(query, key, key).weights.numpy()
    for t in range(target):
        turned = rotation(source - target + t) @ query[t].numpy()
        scores = [turned @ (rotation(s) @ key[s].numpy()) / np.sqrt(K) for s in range(source)]
        exponentials = np.exp(scores)
        np.testing.assert_allclose(weights[t], exponentials / exponentials.sum(), rtol=1e-10)


def test_only_the_distance_counts():
    query, key = torch.randn(1, K, dtype=torch.float64), torch.randn(1, K, dtype=torch.float64)

    def product(t, s):
        return (rotate(query, torch.tensor([t])) * rotate(key, torch.tensor([s]))).sum()

    for shift in (1, 7, 1000):
        torch.testing.assert_close(product(5 + shift, 2 + shift), product(5, 2))
    assert not torch.allclose(product(5, 3), product(5, 2))


def test_a_turned_vector_keeps_its_length():
    vectors = torch.randn(3, 9, K)
    torch.testing.assert_close(rotate(vectors, torch.arange(9)).norm(dim=-1), vectors.norm(dim=-1))


def test_position_zero_turns_nothing():
    vectors = torch.randn(1, K)
    assert torch.equal(rotate(vectors, torch.tensor([0])), vectors)


def test_half_precision_still_tells_far_positions_apart():
    vectors = torch.ones(2, K, dtype=torch.bfloat16)
    far = rotate(vectors, torch.tensor([4000, 4001]))
    expected = rotate(vectors.double(), torch.tensor([4000, 4001]))
    assert far.dtype == torch.bfloat16
    torch.testing.assert_close(far.double(), expected, atol=0.02, rtol=0)


@pytest.mark.parametrize(
    "build",
    [
        lambda mechanism: MultiHeadAttention(16, 2, mechanism=mechanism),
        lambda mechanism: GroupedQueryAttention(16, 4, 2, mechanism=mechanism),
    ],
    ids=["multi-head", "grouped-query"],
)
def test_decoding_continues_where_the_whole_left_off(build):
    attention = build(RotaryAttention())
    states = torch.randn(2, 5, 16)
    whole = attention(states, mask=causal_mask(5))
    last = attention(states[:, 3:], states, mask=causal_mask(2, 5))
    torch.testing.assert_close(last.context, whole.context[:, 3:])
    torch.testing.assert_close(last.weights, whole.weights[:, :, 3:])


def test_order_matters():
    attention = MultiHeadAttention(12, 2, mechanism=RotaryAttention())
    states = torch.randn(1, 5, 12)
    assert not torch.allclose(attention(states.flip(1)).context, attention(states).context.flip(1))


def test_width_without_pairs_is_refused():
    with pytest.raises(ValueError, match="even width"):
        RotaryAttention()(torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(2, 3))


def test_key_of_another_width_is_refused():
    with pytest.raises(ValueError, match="key is 4 wide, expected 6"):
        RotaryAttention()(torch.zeros(2, 6), torch.zeros(2, 4), torch.zeros(2, 4))


@pytest.mark.parametrize("base", [0.0, -1.0, float("nan")])
def test_base_that_is_not_positive_is_refused(base):
    with pytest.raises(ValueError, match="base must be positive"):
        RotaryAttention(base=base)
