from dataclasses import FrozenInstanceError, replace

import pytest
import torch
from torch import nn

from models.attention import causal_mask
from models.networks import Decoder, DecoderBlock, DecoderConfig

TINY = DecoderConfig.tiny()
D, H = TINY.d_model, TINY.num_heads
either_norm = pytest.mark.parametrize("norm_first", [True, False], ids=["pre-norm", "post-norm"])


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def torch_reference(block: DecoderBlock, norm_first: bool) -> nn.TransformerDecoderLayer:
    """nn.TransformerDecoderLayer with the weights of ours."""
    theirs = nn.TransformerDecoderLayer(
        D, H, TINY.d_ff, 0.0, activation="gelu", batch_first=True, norm_first=norm_first
    )
    for attention, target in ((block.self_attention, theirs.self_attn), (block.cross_attention, theirs.multihead_attn)):
        projections = [attention.project_query, attention.project_key, attention.project_value]
        with torch.no_grad():
            target.in_proj_weight.copy_(torch.cat([p.weight for p in projections]))
            target.in_proj_bias.copy_(torch.cat([p.bias for p in projections]))
        target.out_proj.load_state_dict(attention.project_context.state_dict())
    theirs.linear1.load_state_dict(block.feed_forward[0].state_dict())
    theirs.linear2.load_state_dict(block.feed_forward[3].state_dict())
    theirs.norm1.load_state_dict(block.self_attention_norm.state_dict())
    theirs.norm2.load_state_dict(block.cross_attention_norm.state_dict())
    theirs.norm3.load_state_dict(block.feed_forward_norm.state_dict())
    return theirs


def with_random_vectors(module: nn.Module) -> nn.Module:
    """Biases and norms away from zero and one, so that leaving one out shows."""
    for parameter in module.parameters():
        if parameter.dim() == 1:
            nn.init.normal_(parameter)
    return module


@either_norm
def test_block_agrees_with_torch_transformer_decoder_layer(norm_first):
    block = with_random_vectors(DecoderBlock(replace(TINY, norm_first=norm_first, dropout=0.0)))
    hidden, source = torch.randn(2, 5, D), torch.randn(2, 4, D)
    present = torch.arange(4) < torch.tensor([[4], [2]])
    expected = torch_reference(block, norm_first)(
        hidden,
        source,
        tgt_mask=~causal_mask(5)[0, 0],
        memory_key_padding_mask=~present,
        tgt_is_causal=True,
    )
    answer = block(hidden, source, source_mask=present[:, None, None, :])
    torch.testing.assert_close(answer.context, expected)


@either_norm
def test_no_state_depends_on_what_comes_after_it(norm_first):
    decoder = Decoder(replace(TINY, norm_first=norm_first)).eval()
    hidden, source = torch.randn(1, 5, D, requires_grad=True), torch.randn(1, 4, D)
    output = decoder(hidden, source)
    (output.hidden[0, 2] * torch.randn(D)).sum().backward()
    assert hidden.grad is not None
    assert (hidden.grad[0, 3:] == 0).all()
    assert hidden.grad[0, :3].abs().amax(-1).min() > 0
    for weights in output.self_attention:
        assert torch.equal(weights.triu(1), torch.zeros(1, H, 5, 5))


def test_a_prefix_alone_is_decoded_alike():
    decoder = Decoder(TINY).eval()
    hidden, source = torch.randn(2, 5, D), torch.randn(2, 4, D)
    torch.testing.assert_close(decoder(hidden[:, :3], source).hidden, decoder(hidden, source).hidden[:, :3])


@either_norm
def test_padding_of_targets_and_source_changes_no_real_state(norm_first):
    decoder = Decoder(replace(TINY, norm_first=norm_first)).eval()
    hidden, source = torch.randn(1, 5, D), torch.randn(1, 4, D)
    # Targets padded on the left, where causality alone would not keep the padding out.
    mask, source_mask = torch.tensor([[False, False, True, True, True]]), torch.tensor([[True, True, True, False]])
    padded, alone = decoder(hidden, source, mask, source_mask), decoder(hidden[:, 2:], source[:, :3])
    torch.testing.assert_close(padded.hidden[:, 2:], alone.hidden)
    for ours, theirs in zip(padded.self_attention, alone.self_attention, strict=True):
        assert (ours[..., :2] == 0).all()
        torch.testing.assert_close(ours[..., 2:, 2:], theirs)
    for ours, theirs in zip(padded.cross_attention, alone.cross_attention, strict=True):
        assert (ours[..., 3:] == 0).all()
        torch.testing.assert_close(ours[..., 2:, :3], theirs)


def test_a_row_without_source_is_still_decoded():
    decoder = Decoder(TINY).eval()
    hidden, source = torch.randn(2, 5, D), torch.randn(2, 4, D)
    output = decoder(hidden, source, source_mask=torch.tensor([[True] * 4, [False] * 4]))
    assert output.hidden.isfinite().all()
    assert (output.cross_attention[0][1] == 0).all()
    torch.testing.assert_close(output.hidden[1:], decoder(hidden[1:], source[1:, :0]).hidden)


def test_stack_returns_both_weights_of_every_layer_in_order():
    decoder = Decoder(replace(TINY, num_layers=3)).eval()
    hidden, source = torch.randn(2, 5, D), torch.randn(2, 4, D)
    output = decoder(hidden, source)
    assert output.hidden.shape == hidden.shape
    assert [weights.shape for weights in output.self_attention] == [(2, H, 5, 5)] * 3
    assert [weights.shape for weights in output.cross_attention] == [(2, H, 5, 4)] * 3
    first = decoder.blocks[0](hidden, source)
    assert torch.equal(output.self_attention[0], first.weights)
    assert torch.equal(output.cross_attention[0], first.cross_weights)


def test_pre_norm_stack_ends_with_a_norm_and_post_norm_needs_none():
    hidden, source = torch.randn(2, 5, D) * 30, torch.randn(2, 4, D)
    for norm_first in (True, False):
        states = Decoder(replace(TINY, norm_first=norm_first)).eval()(hidden, source).hidden
        torch.testing.assert_close(states.mean(-1), torch.zeros(2, 5), atol=1e-4, rtol=0)
        torch.testing.assert_close(states.var(-1, unbiased=False), torch.ones(2, 5), atol=1e-2, rtol=0)


def test_without_causality_all_targets_see_one_another():
    decoder = Decoder(replace(TINY, causal=False)).eval()
    hidden, source, order = torch.randn(2, 5, D), torch.randn(2, 4, D), torch.tensor([3, 0, 4, 2, 1])
    plain, permuted = decoder(hidden, source), decoder(hidden[:, order], source)
    torch.testing.assert_close(permuted.hidden, plain.hidden[:, order])
    assert plain.self_attention[0].min() > 0


def test_source_of_another_width_is_attended_over():
    decoder = Decoder(replace(TINY, d_source=6)).eval()
    assert decoder(torch.randn(2, 5, D), torch.randn(2, 4, 6)).hidden.shape == (2, 5, D)


@either_norm
def test_gradient_reaches_all_parameters(norm_first):
    decoder = Decoder(replace(TINY, norm_first=norm_first, dropout=0.0))
    source = torch.randn(2, 4, D, requires_grad=True)
    (decoder(torch.randn(2, 5, D), source).hidden * torch.randn(2, 5, D)).sum().backward()
    for name, parameter in decoder.named_parameters():
        assert parameter.grad is not None, name
        if not name.endswith("project_key.bias"):  # softmax does not see what shifts a query's scores as a whole
            assert parameter.grad.abs().max() > 1e-6, name
    assert source.grad is not None
    assert source.grad.abs().max() > 0


def test_deep_stack_still_passes_a_gradient_to_its_input():
    decoder = Decoder(replace(TINY, num_layers=24, dropout=0.0))
    states = torch.randn(1, 4, D, requires_grad=True)
    (decoder(states, torch.randn(1, 3, D)).hidden * torch.randn(1, 4, D)).sum().backward()
    assert states.grad is not None
    assert 1e-3 < states.grad.norm() < 1e3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"hidden": torch.zeros(2, 5, 7)}, "hidden is 7 wide, expected 8"),
        ({"source": torch.zeros(2, 4, 7)}, "key is 7 wide, expected 8"),
        ({"mask": torch.ones(2, 1, 4, 4, dtype=torch.bool)}, "does not fit scores"),
        ({"mask": torch.ones(2, 1, 5, 5)}, "mask must be bool"),
        ({"source_mask": torch.ones(2, 1, 5, 5, dtype=torch.bool)}, "does not fit scores"),
    ],
    ids=["hidden", "source", "mask", "float mask", "source mask"],
)
def test_arguments_that_do_not_fit_a_block_are_refused(arguments, message):
    block = DecoderBlock(TINY)
    with pytest.raises(ValueError, match=message):
        block(**{"hidden": torch.zeros(2, 5, D), "source": torch.zeros(2, 4, D), **arguments})


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("d_source", 0, "d_source must be a positive"),
        ("d_model", 0, "d_model must be a positive"),
        ("num_layers", 0, "num_layers must be a positive"),
        ("num_heads", 3, "d_model 8 does not divide into num_heads 3"),
        ("dropout", 1.0, "dropout must be at least 0 and below 1"),
    ],
)
def test_config_that_makes_no_decoder_is_refused(field, value, message):
    with pytest.raises(ValueError, match=message):
        replace(TINY, **{field: value})


def test_config_is_frozen():
    with pytest.raises(FrozenInstanceError):
        TINY.d_model = 16
