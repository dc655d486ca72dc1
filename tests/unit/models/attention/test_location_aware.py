import numpy as np
import pytest
import torch

from models.attention import AdditiveAttention, LocationAwareAttention


@pytest.fixture
def mechanism():
    torch.manual_seed(0)
    return LocationAwareAttention(4, 3, 6, num_filters=2, kernel_size=3)


def draw(dtype=torch.float32):
    query, key = torch.randn(2, 4, dtype=dtype), torch.randn(5, 3, dtype=dtype)
    return query, key, torch.softmax(torch.randn(2, 5, dtype=dtype), dim=-1)


def test_weights_equal_the_formula_in_float64(mechanism):
    mechanism = mechanism.double()
    query, key, previous = draw(torch.float64)
    weights = mechanism(query, key, key, previous).weights.detach().numpy()
    w, b = (p.detach().numpy() for p in (mechanism.project_query.weight, mechanism.project_query.bias))
    u, location = (p.weight.detach().numpy() for p in (mechanism.project_key, mechanism.project_location))
    filters, v = mechanism.filters.weight.detach().numpy()[:, 0], mechanism.combine.detach().numpy()
    for t in range(2):
        around = np.pad(previous[t].numpy(), 1)
        scores = []
        for s in range(5):
            features = filters @ around[s : s + 3]
            hidden = w @ query[t].numpy() + u @ key[s].numpy() + location @ features + b
            scores.append(v @ np.tanh(hidden))
        np.testing.assert_allclose(weights[t], np.exp(scores) / np.exp(scores).sum(), rtol=1e-12)


def test_first_step_is_additive_attention_with_a_bias(mechanism):
    torch.nn.init.zeros_(mechanism.project_query.bias)
    additive = AdditiveAttention(4, 3, 6)
    with torch.no_grad():
        additive.project_query.weight.copy_(mechanism.project_query.weight)
        additive.project_key.weight.copy_(mechanism.project_key.weight)
        additive.combine.copy_(mechanism.combine)
    query, key, _ = draw()
    torch.testing.assert_close(mechanism(query, key, key).weights, additive(query, key, key).weights)


def test_no_previous_weights_are_zeros(mechanism):
    query, key, _ = draw()
    zeros = mechanism(query, key, key, torch.zeros(2, 5))
    torch.testing.assert_close(mechanism(query, key, key).weights, zeros.weights)


def test_equal_keys_are_told_apart_by_where_it_looked_last(mechanism):
    query, key = torch.randn(1, 4), torch.randn(1, 3).expand(5, 3)
    weights = mechanism(query, key, key, torch.tensor([[0.0, 0.9, 0.1, 0.0, 0.0]])).weights
    # The filters reach one position to either side of the two that were looked at.
    assert len({round(weight, 6) for weight in weights[0, :4].tolist()}) == 4
    unseen = mechanism(query, key, key).weights
    torch.testing.assert_close(unseen, torch.full((1, 5), 0.2))


def test_previous_weights_of_masked_keys_are_not_read(mechanism):
    query, key, previous = draw()
    mask = torch.tensor([True, True, True, False, False])
    masked = mechanism(query, key, key, previous, mask)
    alone = mechanism(query, key[:3], key[:3], previous[:, :3])
    torch.testing.assert_close(masked.weights[:, :3], alone.weights)
    torch.testing.assert_close(masked.context, alone.context)


def test_stepping_over_a_source_attends_as_a_whole(mechanism):
    query, key, previous = draw()
    together = mechanism(query, key, key, previous).weights
    for t in range(2):
        torch.testing.assert_close(mechanism(query[t : t + 1], key, key, previous[t : t + 1]).weights[0], together[t])


@pytest.mark.parametrize("shape", [(5,), (2, 4), (1, 2, 5)])
def test_previous_weights_of_another_shape_are_refused(mechanism, shape):
    query, key, _ = draw()
    with pytest.raises(ValueError, match="previous weights are of shape"):
        mechanism(query, key, key, torch.zeros(shape))


@pytest.mark.parametrize("kernel_size", [0, -1, 4])
def test_filter_without_a_centre_is_refused(kernel_size):
    with pytest.raises(ValueError, match="kernel_size must be odd and positive"):
        LocationAwareAttention(4, 3, 6, kernel_size=kernel_size)
