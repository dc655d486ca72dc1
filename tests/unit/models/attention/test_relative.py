import math

import numpy as np
import pytest
import torch

from models.attention import GroupedQueryAttention, MultiHeadAttention, RelativeBiasAttention, causal_mask
from models.attention.relative import distance_buckets

H, K = 2, 4


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def with_large_bias(mechanism: RelativeBiasAttention) -> RelativeBiasAttention:
    torch.nn.init.normal_(mechanism.bias.weight)
    return mechanism


@pytest.mark.parametrize(
    ("num_buckets", "first_distances"),
    [
        # Both directions: 16 buckets each, boundaries 8 · 16^(j/8).
        (16, [*range(8), 8, 12, 16, 23, 32, 46, 64, 91]),
        # The past alone: 32 buckets, boundaries 16 · 8^(j/16).
        (32, [*range(16), 16, 19, 21, 24, 27, 31, 35, 40, 46, 52, 59, 67, 77, 87, 99, 113]),
    ],
)
def test_buckets_begin_where_those_of_t5_begin(num_buckets, first_distances):
    buckets = distance_buckets(num_buckets, 128)
    assert len(buckets) == 129
    assert [buckets.index(bucket) for bucket in range(num_buckets)] == first_distances
    assert list(buckets) == sorted(buckets)


def test_buckets_equal_the_formula_off_the_boundaries():
    buckets = distance_buckets(16, 128)
    for distance in (9, 15, 20, 40, 70, 127):
        assert buckets[distance] == 8 + int(math.log(distance / 8) / math.log(128 / 8) * 8)


@pytest.mark.parametrize(("bidirectional", "direction"), [(True, 8), (False, 16)])
@pytest.mark.parametrize(("target", "source"), [(5, 5), (2, 40), (1, 3)])
def test_weights_equal_the_formula_in_float64(bidirectional, direction, target, source):
    mechanism = RelativeBiasAttention(H, num_buckets=16, max_distance=20, bidirectional=bidirectional)
    mechanism = with_large_bias(mechanism).double()
    query, key = torch.randn(H, target, K, dtype=torch.float64), torch.randn(H, source, K, dtype=torch.float64)
    weights = mechanism(query, key, key).weights.detach().numpy()
    buckets, table = distance_buckets(direction, 20), mechanism.bias.weight.detach().numpy()
    for head in range(H):
        for t in range(target):
            scores = []
            for s in range(source):
                offset = s - (source - target + t)
                distance = abs(offset) if bidirectional else max(-offset, 0)
                bucket = buckets[min(distance, 20)] + (direction if bidirectional and offset > 0 else 0)
                scores.append(query[head, t].numpy() @ key[head, s].numpy() / np.sqrt(K) + table[bucket, head])
            exponentials = np.exp(scores)
            np.testing.assert_allclose(weights[head, t], exponentials / exponentials.sum(), rtol=1e-10)


def test_directions_have_buckets_of_their_own():
    mechanism = RelativeBiasAttention(H)
    assert mechanism.bucket(torch.tensor([-200, -128, -1, 0, 1, 128, 200])).tolist() == [15, 15, 1, 0, 17, 31, 31]
    causal = RelativeBiasAttention(H, bidirectional=False)
    assert causal.bucket(torch.tensor([-200, -1, 0, 1, 200])).tolist() == [31, 1, 0, 0, 0]


@pytest.mark.parametrize(
    "build",
    [
        lambda: MultiHeadAttention(8, 2, mechanism=with_large_bias(RelativeBiasAttention(2))),
        lambda: GroupedQueryAttention(8, 4, 2, mechanism=with_large_bias(RelativeBiasAttention(4))),
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


def test_gradient_reaches_the_buckets_that_occur():
    attention = MultiHeadAttention(8, 2, mechanism=RelativeBiasAttention(2, bidirectional=False))
    attention(torch.randn(1, 3, 8)).context.square().sum().backward()
    gradient = attention.mechanism.bias.weight.grad
    assert gradient is not None
    assert (gradient[:3].abs() > 0).all()
    assert (gradient[3:] == 0).all()


def test_the_table_of_buckets_is_not_part_of_the_state():
    assert list(RelativeBiasAttention(H).state_dict()) == ["bias.weight"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_heads": 0}, "num_heads must be positive"),
        ({"num_heads": 2, "num_buckets": 7}, "must be even for two directions"),
        ({"num_heads": 2, "num_buckets": 2}, "cannot be spread"),
        ({"num_heads": 2, "num_buckets": 32, "max_distance": 8}, "16 buckets a direction cannot be spread up to"),
    ],
)
def test_buckets_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        RelativeBiasAttention(**options)


def test_other_heads_are_refused():
    with pytest.raises(ValueError, match="do not have the 2 heads"):
        MultiHeadAttention(12, 3, mechanism=RelativeBiasAttention(2))(torch.zeros(1, 4, 12))
