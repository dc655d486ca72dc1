import numpy as np
import pytest
import torch

from models.attention import BlockAttention, ScaledDotProductAttention, spread_blocks

K, L = 4, 3
LENGTHS = [1, 2, 3, 4, 6, 7, 20]


@pytest.fixture
def mechanism():
    torch.manual_seed(0)
    return BlockAttention(K, L)


def draw(length, *lead):
    return [torch.randn(*lead, length, width) for width in (K, K, 5)]


def softmax(scores):
    exponentials = np.exp(scores)
    return exponentials / exponentials.sum()


def test_equals_the_formula_in_float64(mechanism):
    mechanism = mechanism.double()
    inputs = [tensor.double() for tensor in draw(7)]
    attended = mechanism(*inputs)
    query, key, value = (tensor.numpy() for tensor in inputs)
    u = mechanism.summary_query.detach().numpy()
    w, b = mechanism.gate.weight.detach().numpy()[0], mechanism.gate.bias.item()
    blocks = [range(start, min(start + L, 7)) for start in (0, 3, 6)]
    pooled = [softmax(key[list(block)] @ u / np.sqrt(K)) for block in blocks]
    summary_keys = [p @ key[list(block)] for p, block in zip(pooled, blocks, strict=True)]
    summary_values = [p @ value[list(block)] for p, block in zip(pooled, blocks, strict=True)]
    for t in range(7):
        own = list(blocks[t // L])
        gate = 1 / (1 + np.exp(-(w @ query[t] + b)))
        within = softmax(key[own] @ query[t] / np.sqrt(K)) @ value[own]
        between = softmax(np.array(summary_keys) @ query[t] / np.sqrt(K)) @ np.array(summary_values)
        np.testing.assert_allclose(attended.context[t].detach().numpy(), (1 - gate) * within + gate * between)
    np.testing.assert_allclose(attended.summary_weights[1].detach().numpy(), pooled[1])


@pytest.mark.parametrize("length", LENGTHS)
def test_every_way_from_a_key_to_a_context_is_one_weight(mechanism, length):
    inputs = draw(length, 2, 3)
    attended = mechanism(*inputs)
    dense = spread_blocks(attended)
    assert dense.shape == (2, 3, length, length)
    assert attended.weights.shape == (2, 3, length, L + -(-length // L))
    torch.testing.assert_close(dense.sum(-1), torch.ones(2, 3, length))
    torch.testing.assert_close(dense @ inputs[2], attended.context)


def test_closed_gate_attends_within_each_block_alone(mechanism):
    torch.nn.init.zeros_(mechanism.gate.weight)
    torch.nn.init.constant_(mechanism.gate.bias, -1e4)
    inputs = draw(7)
    same = torch.arange(7)[:, None] // L == torch.arange(7)[None, :] // L
    expected = ScaledDotProductAttention()(*inputs, same)
    attended = mechanism(*inputs)
    torch.testing.assert_close(attended.context, expected.context)
    torch.testing.assert_close(spread_blocks(attended), expected.weights)


def test_query_whose_block_is_masked_takes_from_the_summaries_alone(mechanism):
    mask = torch.tensor([True, True, False, False, False, False, True])
    attended = mechanism(*draw(7), mask)
    dense = spread_blocks(attended)
    assert (attended.weights[3:6, :L] == 0).all()
    assert (dense[:, ~mask] == 0).all()
    torch.testing.assert_close(dense.sum(-1), torch.ones(7))


def test_masked_key_may_be_anything(mechanism):
    query, key, value = draw(7)
    mask = torch.tensor([True, False, True, True, False, True, True])
    spoiled = key.masked_fill(~mask[:, None], float("nan"))
    torch.testing.assert_close(
        mechanism(query, spoiled, value, mask).context, mechanism(query, key, value, mask).context
    )


def test_order_within_a_block_does_not_matter_and_between_blocks_does(mechanism):
    query, key, value = draw(6)
    within, between = torch.tensor([2, 0, 1, 3, 4, 5]), torch.tensor([3, 1, 2, 0, 4, 5])
    context = mechanism(query, key, value).context
    torch.testing.assert_close(mechanism(query, key[within], value[within]).context, context)
    assert not torch.allclose(mechanism(query, key[between], value[between]).context, context)


def test_dropout_acts_on_the_context_and_leaves_the_returned_weights_whole():
    mechanism, states = BlockAttention(K, L, dropout=0.5), torch.randn(1, 7, K)
    trained = mechanism(states, states, states)
    evaluated = mechanism.eval()(states, states, states)
    assert torch.equal(trained.weights, evaluated.weights)
    assert not torch.allclose(trained.context, evaluated.context)


@pytest.mark.parametrize(("d_key", "block"), [(0, 3), (4, 0), (4, -1)])
def test_sizes_that_are_not_positive_are_refused(d_key, block):
    with pytest.raises(ValueError, match="d_key and block must be positive"):
        BlockAttention(d_key, block)


def test_query_of_another_width_is_refused(mechanism):
    with pytest.raises(ValueError, match="query is 3 wide, expected 4"):
        mechanism(torch.zeros(7, 3), torch.zeros(7, 3), torch.zeros(7, 3))
