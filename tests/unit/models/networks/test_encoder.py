from dataclasses import FrozenInstanceError, replace

import pytest
import torch
from torch import nn

from models.attention import spread_band
from models.networks import Encoder, EncoderBlock, EncoderConfig

TINY = EncoderConfig.tiny()
either_norm = pytest.mark.parametrize("norm_first", [True, False], ids=["pre-norm", "post-norm"])


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def torch_reference(block: EncoderBlock, norm_first: bool) -> nn.TransformerEncoderLayer:
    """nn.TransformerEncoderLayer with the weights of ours."""
    theirs = nn.TransformerEncoderLayer(
        TINY.d_model, TINY.num_heads, TINY.d_ff, 0.0, activation="gelu", batch_first=True, norm_first=norm_first
    )
    attention = block.attention
    projections = [attention.project_query, attention.project_key, attention.project_value]
    with torch.no_grad():
        theirs.self_attn.in_proj_weight.copy_(torch.cat([p.weight for p in projections]))
        theirs.self_attn.in_proj_bias.copy_(torch.cat([p.bias for p in projections]))
    theirs.self_attn.out_proj.load_state_dict(attention.project_context.state_dict())
    theirs.linear1.load_state_dict(block.feed_forward[0].state_dict())
    theirs.linear2.load_state_dict(block.feed_forward[3].state_dict())
    theirs.norm1.load_state_dict(block.attention_norm.state_dict())
    theirs.norm2.load_state_dict(block.feed_forward_norm.state_dict())
    return theirs


def with_random_vectors(module: nn.Module) -> nn.Module:
    """Biases and norms away from zero and one, so that leaving one out shows."""
    for parameter in module.parameters():
        if parameter.dim() == 1:
            nn.init.normal_(parameter)
    return module


@either_norm
def test_block_agrees_with_torch_transformer_encoder_layer(norm_first):
    block = with_random_vectors(EncoderBlock(replace(TINY, norm_first=norm_first, dropout=0.0)))
    states = torch.randn(2, 5, TINY.d_model)
    expected = torch_reference(block, norm_first)(
        states
    )  # in training mode: the fused evaluation path is not a reference
    torch.testing.assert_close(block(states).context, expected)


def test_pre_norm_stack_ends_with_a_norm_and_post_norm_needs_none():
    states = torch.randn(2, 5, TINY.d_model) * 30
    for norm_first in (True, False):
        hidden = Encoder(replace(TINY, norm_first=norm_first)).eval()(states).hidden
        torch.testing.assert_close(hidden.mean(-1), torch.zeros(2, 5), atol=1e-4, rtol=0)
        torch.testing.assert_close(hidden.var(-1, unbiased=False), torch.ones(2, 5), atol=1e-2, rtol=0)


def test_stack_returns_the_weights_of_every_layer_in_order():
    encoder = Encoder(replace(TINY, num_layers=3)).eval()
    states = torch.randn(2, 5, TINY.d_model)
    hidden, attention = encoder(states)
    assert hidden.shape == states.shape
    assert [weights.shape for weights in attention] == [(2, TINY.num_heads, 5, 5)] * 3
    assert torch.equal(attention[0], encoder.blocks[0](states).weights)
    assert not torch.equal(attention[0], attention[2])


@either_norm
def test_padding_is_attended_to_by_nobody_and_changes_no_real_state(norm_first):
    encoder = Encoder(replace(TINY, norm_first=norm_first)).eval()
    states = torch.randn(1, 5, TINY.d_model)
    mask = torch.tensor([[True, True, True, False, False]])
    padded, alone = encoder(states, mask), encoder(states[:, :3])
    torch.testing.assert_close(padded.hidden[:, :3], alone.hidden)
    for weights in padded.attention:
        assert (weights[..., 3:] == 0).all()
        torch.testing.assert_close(weights.sum(-1), torch.ones(1, TINY.num_heads, 5))


@either_norm
def test_window_keeps_each_layer_to_what_is_near(norm_first):
    encoder = Encoder(replace(TINY, window=2, norm_first=norm_first)).eval()
    states = torch.randn(1, 12, TINY.d_model)
    changed = states.clone()
    changed[:, 0] = torch.randn(TINY.d_model)
    before, after = encoder(states), encoder(changed)
    reach = 2 * TINY.num_layers
    assert [weights.shape for weights in before.attention] == [(1, TINY.num_heads, 12, 5)] * TINY.num_layers
    assert not torch.allclose(before.hidden[:, reach], after.hidden[:, reach])
    assert torch.equal(before.hidden[:, reach + 1 :], after.hidden[:, reach + 1 :])


@either_norm
def test_window_over_the_whole_sequence_equals_no_window(norm_first):
    near, everywhere = (Encoder(replace(TINY, window=window, norm_first=norm_first)).eval() for window in (6, None))
    near.load_state_dict(everywhere.state_dict())
    states = torch.randn(2, 7, TINY.d_model)
    mask = torch.arange(7) < torch.tensor([[7], [4]])
    real = mask.unsqueeze(-1)
    torch.testing.assert_close(near(states, mask).hidden * real, everywhere(states, mask).hidden * real)
    for band, weights in zip(near(states, mask).attention, everywhere(states, mask).attention, strict=True):
        torch.testing.assert_close(spread_band(band), weights)


@either_norm
def test_window_leaves_padding_without_influence(norm_first):
    encoder = Encoder(replace(TINY, window=2, norm_first=norm_first)).eval()
    states = torch.randn(1, 9, TINY.d_model)
    mask = torch.arange(9)[None] < 5
    torch.testing.assert_close(encoder(states, mask).hidden[:, :5], encoder(states[:, :5]).hidden)


def test_encoder_without_positions_is_permutation_equivariant():
    encoder = Encoder(TINY).eval()
    states, order = torch.randn(2, 5, TINY.d_model), torch.tensor([3, 0, 4, 2, 1])
    torch.testing.assert_close(encoder(states[:, order]).hidden, encoder(states).hidden[:, order])


@either_norm
def test_gradient_reaches_all_parameters(norm_first):
    encoder = Encoder(replace(TINY, norm_first=norm_first, dropout=0.0))
    # Not a plain sum: a norm makes that constant.
    (encoder(torch.randn(2, 5, TINY.d_model)).hidden * torch.randn(2, 5, TINY.d_model)).sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        if not name.endswith("project_key.bias"):  # softmax does not see what shifts a query's scores as a whole
            assert parameter.grad.abs().max() > 1e-6, name


def test_deep_stack_still_passes_a_gradient_to_its_input():
    encoder = Encoder(replace(TINY, num_layers=24, dropout=0.0))
    states = torch.randn(1, 4, TINY.d_model, requires_grad=True)
    (encoder(states).hidden * torch.randn(1, 4, TINY.d_model)).sum().backward()
    assert states.grad is not None
    assert 1e-3 < states.grad.norm() < 1e3


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("d_model", 0, "d_model must be a positive"),
        ("num_heads", -1, "num_heads must be a positive"),
        ("num_layers", 0, "num_layers must be a positive"),
        ("d_ff", 0, "d_ff must be a positive"),
        ("num_heads", 3, "d_model 8 does not divide into num_heads 3"),
        ("dropout", 1.0, "dropout must be at least 0 and below 1"),
        ("window", 0, "window must be a positive"),
        ("window", 2.5, "window must be a positive"),
    ],
)
def test_config_that_makes_no_encoder_is_refused(field, value, message):
    with pytest.raises(ValueError, match=message):
        replace(TINY, **{field: value})


def test_config_is_frozen():
    with pytest.raises(FrozenInstanceError):
        TINY.d_model = 16
