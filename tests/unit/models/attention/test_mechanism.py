"""The properties that every mechanism has, whatever its score; each mechanism's formula is tested in its own file."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.attention import (
    AdditiveAttention,
    BilinearAttention,
    DotAttention,
    ScaledDotProductAttention,
    causal_mask,
)

WIDTH = 6
BUILDERS = {
    "dot": DotAttention,
    "scaled_dot_product": ScaledDotProductAttention,
    "bilinear": lambda dropout=0.0: BilinearAttention(WIDTH, WIDTH, dropout),
    "additive": lambda dropout=0.0: AdditiveAttention(WIDTH, WIDTH, 5, dropout),
}
every_mechanism = pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS.keys())


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def draw(*lead, target=4, source=5, value_width=3):
    return torch.randn(*lead, target, WIDTH), torch.randn(*lead, source, WIDTH), torch.randn(*lead, source, value_width)


@every_mechanism
@pytest.mark.parametrize("lead", [(), (2,), (2, 3)], ids=["bare", "batch", "batch and heads"])
def test_context_and_weights_have_the_documented_shapes(build, lead):
    context, weights = build()(*draw(*lead))
    assert context.shape == (*lead, 4, 3)
    assert weights.shape == (*lead, 4, 5)


@every_mechanism
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), batch=st.integers(1, 3), target=st.integers(1, 4), source=st.integers(1, 6))
def test_weights_sum_to_one_or_zero_and_context_is_their_mean_of_the_values(build, seed, batch, target, source):
    torch.manual_seed(seed)
    query, key, value = draw(batch, target=target, source=source)
    mask = torch.rand(batch, target, source) < 0.6
    context, weights = build()(query, key, value, mask)
    assert (weights[~mask] == 0).all()
    torch.testing.assert_close(weights.sum(-1), mask.any(-1).float())
    torch.testing.assert_close(context, torch.einsum("bts,bsv->btv", weights, value))


@every_mechanism
def test_masked_key_changes_nothing(build):
    mechanism = build()
    query, key, value = draw(1)
    mask = torch.tensor([True, True, True, False, False])
    masked = mechanism(query, key, value, mask)
    alone = mechanism(query, key[:, :3], value[:, :3])
    torch.testing.assert_close(masked.context, alone.context)
    torch.testing.assert_close(masked.weights[..., :3], alone.weights)


@every_mechanism
def test_wholly_masked_query_gets_zeros_and_finite_gradients(build):
    mechanism = build()
    query, key, value = (tensor.requires_grad_() for tensor in draw(1))
    mask = torch.ones(4, 5, dtype=torch.bool)
    mask[2] = False
    context, weights = mechanism(query, key, value, mask)
    assert (weights[0, 2] == 0).all()
    assert (context[0, 2] == 0).all()
    context.square().sum().backward()
    assert all(tensor.grad is not None and tensor.grad.isfinite().all() for tensor in (query, key, value))
    assert (query.grad[0, 2] == 0).all()


@every_mechanism
def test_no_key_at_all_gives_zero_context(build):
    context, weights = build()(*draw(2, source=0))
    assert weights.shape == (2, 4, 0)
    assert torch.equal(context, torch.zeros(2, 4, 3))


@every_mechanism
def test_permuting_keys_with_their_values_permutes_only_the_weights(build):
    mechanism = build()
    query, key, value = draw(2)
    order = torch.tensor([3, 0, 4, 2, 1])
    plain, permuted = mechanism(query, key, value), mechanism(query, key[:, order], value[:, order])
    torch.testing.assert_close(permuted.context, plain.context)
    torch.testing.assert_close(permuted.weights, plain.weights[..., order])


@every_mechanism
def test_self_attention_is_permutation_equivariant(build):
    mechanism = build()
    states = torch.randn(2, 5, WIDTH)
    order = torch.tensor([3, 0, 4, 2, 1])
    plain, permuted = mechanism(states, states, states), mechanism(*[states[:, order]] * 3)
    torch.testing.assert_close(permuted.context, plain.context[:, order])
    torch.testing.assert_close(permuted.weights, plain.weights[:, order][:, :, order])


@every_mechanism
def test_causal_mask_keeps_the_future_out(build):
    mechanism = build()
    states = torch.randn(1, 5, WIDTH)
    changed = states.clone()
    changed[:, 3:] = torch.randn(1, 2, WIDTH)
    mask = causal_mask(5)[0]
    before, after = mechanism(states, states, states, mask), mechanism(changed, changed, changed, mask)
    assert torch.equal(before.weights.triu(1), torch.zeros(1, 5, 5))
    torch.testing.assert_close(after.context[:, :3], before.context[:, :3])
    assert not torch.allclose(after.context[:, 3:], before.context[:, 3:])


@every_mechanism
def test_gradient_reaches_all_parameters_and_inputs(build):
    mechanism = build()
    inputs = [tensor.requires_grad_() for tensor in draw(2)]
    mechanism(*inputs).context.square().sum().backward()
    for tensor in [*inputs, *mechanism.parameters()]:
        assert tensor.grad is not None
        assert tensor.grad.abs().max() > 0


@every_mechanism
def test_dropout_acts_on_the_context_and_leaves_the_returned_weights_whole(build):
    mechanism = build(dropout=0.5)
    inputs = draw(2)
    trained = mechanism(*inputs)
    evaluated = mechanism.eval()(*inputs)
    assert torch.equal(trained.weights, evaluated.weights)
    assert not torch.allclose(trained.context, evaluated.context)


@every_mechanism
def test_key_and_value_of_different_lengths_are_refused(build):
    query, key, value = draw(1)
    with pytest.raises(ValueError, match="key has 5 positions and value 4"):
        build()(query, key, value[:, :4])


@every_mechanism
def test_key_of_another_width_is_refused(build):
    query, key, value = draw(1)
    with pytest.raises(ValueError, match="key is 5 wide, expected 6"):
        build()(query, key[..., :5], value)


@every_mechanism
def test_mask_for_other_lengths_is_refused(build):
    with pytest.raises(ValueError, match="does not fit scores"):
        build()(*draw(1), torch.ones(4, 4, dtype=torch.bool))
