import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from models.attention import AdditiveAttention, GroupedQueryAttention, MultiHeadAttention, causal_mask, padding_mask

D, H = 12, 6


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def with_random_biases(module: nn.Module) -> nn.Module:
    for name, parameter in module.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter)
    return module


def project(layer: nn.Linear, states: torch.Tensor) -> np.ndarray:
    return states.numpy() @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()


@pytest.mark.parametrize("groups", [1, 2, 3, 6])
def test_equals_the_formula_in_float64(groups):
    module = with_random_biases(GroupedQueryAttention(D, H, groups)).double()
    query, source = torch.randn(4, D, dtype=torch.float64), torch.randn(5, D, dtype=torch.float64)
    context, weights = module(query[None], source[None])
    queries, keys, values = (
        project(module.project_query, query),
        project(module.project_key, source),
        project(module.project_value, source),
    )
    width, heads = D // H, []
    for head in range(H):
        own = slice(head * width, (head + 1) * width)
        group = head // (H // groups)
        shared = slice(group * width, (group + 1) * width)
        exponentials = np.exp(queries[:, own] @ keys[:, shared].T / np.sqrt(width))
        expected = exponentials / exponentials.sum(-1, keepdims=True)
        np.testing.assert_allclose(weights[0, head].detach().numpy(), expected, rtol=1e-10)
        heads.append(torch.from_numpy(expected @ values[:, shared]))
    expected = project(module.project_context, torch.cat(heads, -1))
    np.testing.assert_allclose(context[0].detach().numpy(), expected, rtol=1e-10)


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_agrees_with_torch_grouped_query_attention(groups):
    module = with_random_biases(GroupedQueryAttention(D, H, groups))
    query, source = torch.randn(2, 4, D), torch.randn(2, 5, D)
    mask = torch.rand(2, H, 4, 5) < 0.6
    mask[..., 0] = True
    split = [
        layer(states).unflatten(-1, (heads, D // H)).transpose(1, 2)
        for layer, states, heads in (
            (module.project_query, query, H),
            (module.project_key, source, groups),
            (module.project_value, source, groups),
        )
    ]
    expected = scaled_dot_product_attention(*split, attn_mask=mask, enable_gqa=True)
    expected = module.project_context(expected.transpose(1, 2).flatten(2))
    torch.testing.assert_close(module(query, source, mask=mask).context, expected)


def test_as_many_groups_as_heads_are_multi_head_attention():
    grouped, multi = GroupedQueryAttention(D, H, H, d_source=7), MultiHeadAttention(D, H, d_source=7)
    grouped.load_state_dict(with_random_biases(multi).state_dict())
    query, source = torch.randn(2, 4, D), torch.randn(2, 5, 7)
    present = torch.tensor([[True] * 5, [True, False, True, False, False]])
    ours, theirs = grouped(query, source, mask=padding_mask(present)), multi(query, source, mask=padding_mask(present))
    torch.testing.assert_close(ours.context, theirs.context)
    torch.testing.assert_close(ours.weights, theirs.weights)


def test_fewer_groups_are_multi_head_attention_with_repeated_heads():
    grouped, multi = with_random_biases(GroupedQueryAttention(D, H, 2)), MultiHeadAttention(D, H)
    repeated = {
        name: tensor.unflatten(0, (2, D // H)).repeat_interleave(H // 2, 0).flatten(0, 1)
        if name.startswith(("project_key", "project_value"))
        else tensor
        for name, tensor in grouped.state_dict().items()
    }
    multi.load_state_dict(repeated)
    states = torch.randn(2, 5, D)
    torch.testing.assert_close(grouped(states).context, multi(states).context)
    torch.testing.assert_close(grouped(states).weights, multi(states).weights)


def test_one_group_keeps_one_key_and_one_value_head():
    module = GroupedQueryAttention(D, H, 1)
    assert module.project_key.weight.shape == module.project_value.weight.shape == (D // H, D)


def test_masked_keys_get_exactly_zero_and_a_wholly_masked_query_only_the_last_bias():
    module = with_random_biases(GroupedQueryAttention(D, H, 2))
    present = torch.tensor([[True, False, True], [False, False, False]])
    context, weights = module(torch.randn(2, 3, D), mask=padding_mask(present))
    assert (weights[0, :, :, 1] == 0).all()
    torch.testing.assert_close(weights[0].sum(-1), torch.ones(H, 3))
    assert (weights[1] == 0).all()
    assert torch.equal(context[1], module.project_context.bias.expand(3, D))


@pytest.mark.parametrize(("target", "source"), [(0, 3), (3, 0), (0, 0)])
def test_no_query_and_no_key_are_empty(target, source):
    context, weights = GroupedQueryAttention(D, H, 2)(torch.zeros(2, target, D), torch.zeros(2, source, D))
    assert context.shape == (2, target, D)
    assert weights.shape == (2, H, target, source)
    assert (context == 0).all()


def test_causal_self_attention_never_sees_the_future():
    module = GroupedQueryAttention(D, H, 2)
    states = torch.randn(1, 5, D, requires_grad=True)
    module(states, mask=causal_mask(5)).context[0, 2].sum().backward()
    assert states.grad is not None
    assert (states.grad[0, 3:] == 0).all()
    assert states.grad[0, :3].abs().amin(-1).min() > 0


def test_gradient_reaches_all_parameters():
    module = GroupedQueryAttention(D, H, 2)
    module(torch.randn(2, 5, D)).context.square().sum().backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        if name != "project_key.bias":  # softmax does not see what shifts a query's scores as a whole
            assert parameter.grad.abs().max() > 1e-4, name


def test_any_mechanism_can_do_the_scoring():
    module = GroupedQueryAttention(D, H, 3, mechanism=AdditiveAttention(D // H, D // H, 3))
    context, weights = module(torch.randn(2, 5, D))
    assert context.shape == (2, 5, D)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, H, 5))


def test_dropout_acts_on_the_context_and_leaves_the_returned_weights_whole():
    module = GroupedQueryAttention(D, H, 2, dropout=0.5)
    states = torch.randn(2, 5, D)
    trained, evaluated = module(states), module.eval()(states)
    assert torch.equal(trained.weights, evaluated.weights)
    assert not torch.allclose(trained.context, evaluated.context)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((8, 3, 1), "d_model 8 does not divide into 3 heads"),
        ((0, 1, 1), "d_model 0 does not divide into 1 heads"),
        ((12, 6, 4), "6 heads do not divide into 4 groups"),
        ((12, 6, 0), "6 heads do not divide into 0 groups"),
        ((12, 2, 4), "2 heads do not divide into 4 groups"),
    ],
)
def test_heads_and_groups_that_do_not_divide_are_refused(sizes, message):
    with pytest.raises(ValueError, match=message):
        GroupedQueryAttention(*sizes)


def test_dropout_beside_a_mechanism_of_its_own_is_refused():
    with pytest.raises(ValueError, match="dropout belongs to the mechanism"):
        GroupedQueryAttention(D, H, 2, dropout=0.1, mechanism=AdditiveAttention(2, 2, 3))


@pytest.mark.parametrize("wrong", ["query", "key", "value"])
def test_input_of_another_width_is_refused(wrong):
    inputs = {name: torch.zeros(1, 3, D + (name == wrong)) for name in ("query", "key", "value")}
    with pytest.raises(ValueError, match=f"{wrong} is 13 wide, expected 12"):
        GroupedQueryAttention(D, H, 2)(**inputs)


def test_key_and_value_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="key has 3 positions and value 2"):
        GroupedQueryAttention(D, H, 2)(torch.zeros(1, 4, D), torch.zeros(1, 3, D), torch.zeros(1, 2, D))


@pytest.mark.parametrize("mask", [torch.ones(1, 2, 4, 4, dtype=torch.bool), torch.ones(4, 4)], ids=["heads", "float"])
def test_mask_that_does_not_fit_is_refused(mask):
    with pytest.raises(ValueError, match="mask"):
        GroupedQueryAttention(D, H, 2)(torch.zeros(1, 4, D), mask=mask)
