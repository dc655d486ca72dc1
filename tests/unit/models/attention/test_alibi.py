import numpy as np
import pytest
import torch

from models.attention import AlibiAttention, GroupedQueryAttention, MultiHeadAttention, causal_mask
from models.attention.alibi import alibi_slopes

K = 4


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def test_slopes_of_eight_heads_are_those_that_the_paper_prints():
    assert alibi_slopes(8) == (1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64, 1 / 128, 1 / 256)


def test_slopes_of_sixteen_heads_are_those_that_the_paper_prints():
    assert alibi_slopes(16) == pytest.approx([2 ** -(0.5 * head) for head in range(1, 17)])


def test_slopes_of_another_number_continue_with_every_other_one_of_the_next_power():
    assert alibi_slopes(12) == pytest.approx((*alibi_slopes(8), 2**-0.5, 2**-1.5, 2**-2.5, 2**-3.5))
    assert alibi_slopes(1) == (1 / 256,)
    assert alibi_slopes(3) == pytest.approx((1 / 16, 1 / 256, 1 / 4))


@pytest.mark.parametrize("num_heads", range(1, 34))
def test_any_number_of_heads_has_as_many_different_slopes_below_one(num_heads):
    slopes = alibi_slopes(num_heads)
    assert len(set(slopes)) == num_heads
    assert all(0 < slope < 1 for slope in slopes)


@pytest.mark.parametrize(("target", "source"), [(4, 4), (2, 5), (1, 3)])
def test_weights_equal_the_formula_in_float64_with_queries_at_the_last_positions(target, source):
    query, key = torch.randn(2, target, K, dtype=torch.float64), torch.randn(2, source, K, dtype=torch.float64)
    weights = AlibiAttention(2)(query, key, key).weights.numpy()
    for head, slope in enumerate((1 / 16, 1 / 256)):
        for t in range(target):
            scores = [
                query[head, t].numpy() @ key[head, s].numpy() / np.sqrt(K) - slope * abs(source - target + t - s)
                for s in range(source)
            ]
            exponentials = np.exp(scores)
            np.testing.assert_allclose(weights[head, t], exponentials / exponentials.sum(), rtol=1e-10)


@pytest.mark.parametrize(
    "build",
    [
        lambda: MultiHeadAttention(8, 2, mechanism=AlibiAttention(2)),
        lambda: GroupedQueryAttention(8, 4, 2, mechanism=AlibiAttention(4)),
    ],
    ids=["multi-head", "grouped-query"],
)
def test_decoding_continues_where_the_whole_left_off(build):
    attention = build()
    states = torch.randn(2, 5, 8)
    whole = attention(states, mask=causal_mask(5))
    last = attention(states[:, 3:], states, mask=causal_mask(2, 5))
    torch.testing.assert_close(last.context, whole.context[:, 3:])
    torch.testing.assert_close(last.weights, whole.weights[:, :, 3:])


def test_equal_keys_get_less_the_further_they_are():
    states = torch.ones(1, 1, 9, K)
    weights = AlibiAttention(1)(states, states, states).weights[0, 0, 4]
    assert weights.argmax() == 4
    assert (weights[:4].diff() > 0).all()
    torch.testing.assert_close(weights, weights.flip(0))


def test_half_precision_still_tells_far_positions_apart():
    query = torch.zeros(1, 1, 4, dtype=torch.bfloat16)
    key = torch.zeros(1, 3001, 4, dtype=torch.bfloat16)
    scores = AlibiAttention(1).score(query, key)[0, 0]
    assert scores[0].item() == pytest.approx(-3000 / 256, rel=0.005)


def test_nothing_is_learned_or_stored():
    assert AlibiAttention(8).state_dict() == {}


def test_no_heads_are_refused():
    with pytest.raises(ValueError, match="num_heads must be positive, not 0"):
        AlibiAttention(0)


def test_other_heads_are_refused():
    with pytest.raises(ValueError, match="do not have the 2 heads"):
        MultiHeadAttention(12, 3, mechanism=AlibiAttention(2))(torch.zeros(1, 4, 12))
