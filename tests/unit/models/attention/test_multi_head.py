import numpy as np
import pytest
import torch
from torch import nn

from models.attention import (
    AdditiveAttention,
    MultiHeadAttention,
    SlidingWindowAttention,
    causal_mask,
    padding_mask,
    spread_band,
)

D, H = 8, 2


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def torch_reference(ours: MultiHeadAttention, d_source: int | None = None) -> nn.MultiheadAttention:
    """nn.MultiheadAttention with the weights of ours."""
    theirs = nn.MultiheadAttention(D, H, batch_first=True, kdim=d_source, vdim=d_source)
    projections = [ours.project_query, ours.project_key, ours.project_value]
    with torch.no_grad():
        theirs.in_proj_bias.copy_(torch.cat([p.bias for p in projections]))
        if d_source is None:
            theirs.in_proj_weight.copy_(torch.cat([p.weight for p in projections]))
        else:
            for parameter, projection in zip(
                (theirs.q_proj_weight, theirs.k_proj_weight, theirs.v_proj_weight), projections, strict=True
            ):
                parameter.copy_(projection.weight)
        theirs.out_proj.load_state_dict(ours.project_context.state_dict())
    return theirs


def with_random_biases(module: MultiHeadAttention) -> MultiHeadAttention:
    for name, parameter in module.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter)
    return module


def test_self_attention_agrees_with_torch_multihead_attention():
    ours = with_random_biases(MultiHeadAttention(D, H))
    states = torch.randn(3, 5, D)
    present = torch.arange(5) < torch.tensor([[5], [3], [1]])
    context, weights = ours(states, mask=padding_mask(present))
    expected, expected_weights = torch_reference(ours)(
        states, states, states, key_padding_mask=~present, average_attn_weights=False
    )
    torch.testing.assert_close(context, expected)
    torch.testing.assert_close(weights, expected_weights)


def test_cross_attention_over_another_width_agrees_with_torch_multihead_attention():
    ours = with_random_biases(MultiHeadAttention(D, H, d_source=6))
    query, key, value = torch.randn(2, 4, D), torch.randn(2, 5, 6), torch.randn(2, 5, 6)
    context, weights = ours(query, key, value)
    expected, expected_weights = torch_reference(ours, 6)(query, key, value, average_attn_weights=False)
    assert weights.shape == (2, H, 4, 5)
    torch.testing.assert_close(context, expected)
    torch.testing.assert_close(weights, expected_weights)


def test_equals_the_formula_in_float64():
    module = with_random_biases(MultiHeadAttention(D, H)).double()
    states = torch.randn(4, D, dtype=torch.float64)
    context, weights = module(states[None])
    projected = {
        name: states.numpy() @ getattr(module, name).weight.detach().numpy().T
        + getattr(module, name).bias.detach().numpy()
        for name in ("project_query", "project_key", "project_value")
    }
    heads = []
    for head in range(H):
        columns = slice(head * D // H, (head + 1) * D // H)
        query, key, value = (projected[name][:, columns] for name in projected)
        exponentials = np.exp(query @ key.T / np.sqrt(D // H))
        expected = exponentials / exponentials.sum(-1, keepdims=True)
        np.testing.assert_allclose(weights[0, head].detach().numpy(), expected, rtol=1e-10)
        heads.append(expected @ value)
    last = module.project_context
    expected = np.concatenate(heads, -1) @ last.weight.detach().numpy().T + last.bias.detach().numpy()
    np.testing.assert_allclose(context[0].detach().numpy(), expected, rtol=1e-10)


def test_value_is_the_key_unless_given():
    module = MultiHeadAttention(D, H)
    query, source = torch.randn(2, 3, D), torch.randn(2, 5, D)
    assert torch.equal(module(query, source).context, module(query, source, source).context)


def test_masked_keys_get_exactly_zero_in_every_head():
    module = MultiHeadAttention(D, H)
    present = torch.tensor([[True, False, True], [False, False, False]])
    context, weights = module(torch.randn(2, 3, D), mask=padding_mask(present))
    assert (weights[0, :, :, 1] == 0).all()
    torch.testing.assert_close(weights[0].sum(-1), torch.ones(H, 3))
    assert (weights[1] == 0).all()
    assert torch.equal(context[1], module.project_context.bias.expand(3, D))


def test_self_attention_is_permutation_equivariant():
    module = MultiHeadAttention(D, H)
    states, order = torch.randn(2, 5, D), torch.tensor([3, 0, 4, 2, 1])
    plain, permuted = module(states), module(states[:, order])
    torch.testing.assert_close(permuted.context, plain.context[:, order])
    torch.testing.assert_close(permuted.weights, plain.weights[:, :, order][:, :, :, order])


def test_causal_self_attention_never_sees_the_future():
    module = MultiHeadAttention(D, H)
    states = torch.randn(1, 5, D, requires_grad=True)
    module(states, mask=causal_mask(5)).context[0, 2].sum().backward()
    assert states.grad is not None
    assert (states.grad[0, 3:] == 0).all()
    assert states.grad[0, :3].abs().amin(-1).min() > 0


def test_gradient_reaches_all_parameters():
    module = MultiHeadAttention(D, H)
    module(torch.randn(2, 5, D)).context.square().sum().backward()
    gradients = {name: parameter.grad for name, parameter in module.named_parameters()}
    # A bias on all keys shifts each query's scores by one number, which softmax does not see: zero but for rounding.
    assert gradients.pop("project_key.bias").abs().max() < 1e-5
    for name, gradient in gradients.items():
        assert gradient.abs().max() > 1e-4, name


def test_any_mechanism_can_do_the_attending():
    module = MultiHeadAttention(D, H, mechanism=AdditiveAttention(D // H, D // H, 3))
    context, weights = module(torch.randn(2, 5, D))
    assert context.shape == (2, 5, D)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, H, 5))


def test_window_in_every_head_equals_all_pairs_under_a_mask_of_its_band():
    windowed, everywhere = MultiHeadAttention(D, H, mechanism=SlidingWindowAttention(2)), MultiHeadAttention(D, H)
    everywhere.load_state_dict(windowed.state_dict())
    states, position = torch.randn(2, 9, D), torch.arange(9)
    present = padding_mask(torch.arange(9) < torch.tensor([[9], [6]]))
    near = (position[:, None] - position).abs() <= 2
    context, band = windowed(states, mask=present)
    expected, weights = everywhere(states, mask=present & near)
    assert band.shape == (2, H, 9, 5)
    torch.testing.assert_close(context, expected)
    torch.testing.assert_close(spread_band(band), weights)


def test_window_over_two_sequences_is_refused():
    module = MultiHeadAttention(D, H, mechanism=SlidingWindowAttention(2))
    with pytest.raises(ValueError, match="must be one sequence"):
        module(torch.randn(1, 4, D), torch.randn(1, 5, D))


@pytest.mark.parametrize(("d_model", "num_heads"), [(8, 3), (8, 0), (0, 1), (2, 4), (8, -2)])
def test_width_that_does_not_divide_into_heads_is_refused(d_model, num_heads):
    with pytest.raises(ValueError, match="does not divide into"):
        MultiHeadAttention(d_model, num_heads)


def test_dropout_beside_a_mechanism_of_its_own_is_refused():
    with pytest.raises(ValueError, match="dropout belongs to the mechanism"):
        MultiHeadAttention(D, H, dropout=0.1, mechanism=AdditiveAttention(4, 4, 3))


@pytest.mark.parametrize("wrong", ["query", "key", "value"])
def test_input_of_another_width_is_refused(wrong):
    inputs = {name: torch.zeros(1, 3, D + (name == wrong)) for name in ("query", "key", "value")}
    with pytest.raises(ValueError, match=f"{wrong} is 9 wide, expected 8"):
        MultiHeadAttention(D, H)(**inputs)
