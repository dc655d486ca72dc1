import pytest
import torch

from models.attention import MultiHeadAttention, causal_mask
from models.networks.cached_attention import attend_cached, attend_cached_with_maps, places
from models.networks.stepwise_block import CachedSelfAttention

HEADS, WIDTH = 2, 4


def buffers(rows, capacity, fill=0.0):
    return torch.full((rows, HEADS, capacity, WIDTH), fill), torch.full((rows, HEADS, capacity, WIDTH), fill)


def step(projected, key, value, lengths):
    where = places(torch.tensor(lengths, dtype=torch.int32), projected.shape[1])
    return attend_cached_with_maps(projected, key, value, where, HEADS)


def test_places_count_from_what_each_row_holds():
    last, total = places(torch.tensor([0, 3], dtype=torch.int32), 2)
    assert (last.tolist(), int(total)) == ([1, 4], 5)
    assert last.dtype == total.dtype == torch.int32


def test_one_by_one_is_causal_attention_over_all():
    torch.manual_seed(0)
    module = CachedSelfAttention(HEADS * WIDTH, HEADS).eval()
    hidden = torch.randn(3, 5, HEADS * WIDTH)
    key, value = buffers(3, 7, fill=float("inf"))
    contexts = []
    with torch.inference_mode():
        expected = module(hidden, causal_mask(5))
        for place in range(5):
            where = places(torch.full((3,), place, dtype=torch.int32), 1)
            context, key, value, _ = module.step(hidden[:, place : place + 1], key, value, where, maps=False)
            contexts.append(context)
    torch.testing.assert_close(torch.cat(contexts, dim=1), expected)


def test_fused_projection_is_multi_head_attention():
    torch.manual_seed(0)
    module, parted = CachedSelfAttention(8, 2).eval(), MultiHeadAttention(8, 2).eval()
    with torch.no_grad():
        parts = zip(
            ("query", "key", "value"), module.project.weight.chunk(3), module.project.bias.chunk(3), strict=True
        )
        for name, weight, bias in parts:
            getattr(parted, f"project_{name}").weight.copy_(weight)
            getattr(parted, f"project_{name}").bias.copy_(bias)
        parted.project_context.load_state_dict(module.project_context.state_dict())
    hidden = torch.randn(2, 6, 8)
    expected = parted(hidden, mask=causal_mask(6)).context
    torch.testing.assert_close(module(hidden, causal_mask(6)), expected)


def test_weights_reach_as_far_as_each_row_holds():
    projected = torch.randn(2, 2, 3 * HEADS * WIDTH)
    _, _, _, weights = step(projected, *buffers(2, 6), [0, 3])
    seen = (weights > 0).sum(dim=-1)
    assert seen[:, 0].tolist() == [[1, 2], [4, 5]]
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(2, HEADS, 2))


def test_new_keys_stand_behind_what_a_row_holds_and_nothing_else_changes():
    projected = torch.randn(2, 1, 3 * HEADS * WIDTH)
    key, value = buffers(2, 4, fill=7.0)
    _, after, _, _ = step(projected, key, value, [0, 2])
    changed = (after != 7.0).any(dim=-1).any(dim=1)
    assert changed.tolist() == [[True, False, False, False], [False, False, True, False]]
    assert (key == 7.0).all()


@pytest.mark.parametrize("lengths", [[4], [-1]])
def test_tokens_outside_the_buffers_are_refused(lengths):
    with pytest.raises(ValueError, match="do not fit buffers of 4 positions"):
        step(torch.randn(1, 1, 3 * HEADS * WIDTH), *buffers(1, 4), lengths)


@pytest.mark.parametrize("attend", [attend_cached, attend_cached_with_maps])
def test_operators_keep_their_promises_to_the_exporter(attend):
    operator = torch.ops.attendant.cached_attention
    if attend is attend_cached_with_maps:
        operator = torch.ops.attendant.cached_attention_maps
    where = places(torch.tensor([0, 2], dtype=torch.int32), 1)
    arguments = (torch.randn(2, 1, 3 * HEADS * WIDTH), *buffers(2, 5), *where, HEADS)
    torch.library.opcheck(operator, arguments, test_utils=("test_schema", "test_faketensor"))
