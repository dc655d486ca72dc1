import numpy as np
import pytest
import torch
from torch import nn

from models.attention import MultiHeadAttention, PerHeadLinearAttention, causal_mask, padding_mask

D, H = 6, 3
K = D // H


@pytest.fixture
def module():
    torch.manual_seed(0)
    return PerHeadLinearAttention(D, H)


def test_equals_the_formula_in_float64(module):
    module = module.double()
    states = torch.randn(4, D, dtype=torch.float64)
    context, weights = module(states[None])
    for head in range(H):
        part = states.numpy()[:, head * K : (head + 1) * K]
        query, key, value = (
            part @ projections[head].weight.detach().numpy().T + projections[head].bias.detach().numpy()
            for projections in (module.project_query, module.project_key, module.project_value)
        )
        exponentials = np.exp(query @ key.T / np.sqrt(K))
        expected = exponentials / exponentials.sum(-1, keepdims=True)
        np.testing.assert_allclose(weights[0, head].detach().numpy(), expected, rtol=1e-10)
        np.testing.assert_allclose(
            context[0, :, head * K : (head + 1) * K].detach().numpy(), expected @ value, rtol=1e-10
        )


def test_is_multi_head_attention_with_block_diagonal_projections(module):
    whole = MultiHeadAttention(D, H)
    with torch.no_grad():
        for name in ("project_query", "project_key", "project_value"):
            getattr(whole, name).weight.copy_(torch.block_diag(*(part.weight for part in getattr(module, name))))
            getattr(whole, name).bias.copy_(torch.cat([part.bias for part in getattr(module, name)]))
        nn.init.eye_(whole.project_context.weight)
    states = torch.randn(2, 5, D)
    present = torch.arange(5) < torch.tensor([[5], [3]])
    ours, expected = module(states, padding_mask(present)), whole(states, mask=padding_mask(present))
    torch.testing.assert_close(ours.context, expected.context)
    torch.testing.assert_close(ours.weights, expected.weights)


def test_head_sees_only_its_own_slice(module):
    states = torch.randn(1, 5, D, requires_grad=True)
    module(states).context[..., :K].sum().backward()
    assert states.grad is not None
    assert (states.grad[..., K:] == 0).all()
    assert (states.grad[..., :K] != 0).all()


def test_causal_mask_keeps_the_future_out(module):
    states = torch.randn(1, 5, D, requires_grad=True)
    module(states, causal_mask(5)).context[0, 2].sum().backward()
    assert states.grad is not None
    assert (states.grad[0, 3:] == 0).all()


@pytest.mark.parametrize(("d_model", "num_heads"), [(8, 3), (8, 0), (0, 1), (8, -2)])
def test_width_that_does_not_divide_into_heads_is_refused(d_model, num_heads):
    with pytest.raises(ValueError, match="does not divide into"):
        PerHeadLinearAttention(d_model, num_heads)


def test_states_of_another_width_are_refused(module):
    with pytest.raises(ValueError, match="states is 5 wide, expected 6"):
        module(torch.zeros(1, 3, 5))
