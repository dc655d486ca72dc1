"""Self-attention over cached keys and values as one node: `com.microsoft.GroupQueryAttention`.

It takes queries, keys and values side by side as they come out of one product, writes the new keys and values into the
buffers that hold the former ones, and reads of each row only what the row holds, so that its cost follows the tokens
and not the buffers. Where past and present are bound to the same memory nothing is copied.

    last     seqlens_k, int32 [row]: one less than the positions that each row holds afterwards
    total    total_sequence_length, int32: the most of them

ONNX Runtime 1.31.1 on CPU: exact for one new token of any number of rows, of any lengths; several new tokens on top of
former ones only for a row by itself.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from models.networks import cached_attention as _operators  # noqa: F401 - registers what is replaced here

NODE = "com.microsoft::GroupQueryAttention"
WEIGHTS_AFTER_SOFTMAX = 2
"""`qk_output`: the fourth output holds the weights, not the scores before the softmax (1)."""


def group_query_attention(
    projected: Tensor, key: Tensor, value: Tensor, last: Tensor, total: Tensor, num_heads: int
) -> tuple[Tensor, ...]:
    """The node in place of `attendant::cached_attention`: (B,T,3D), buffers (B,H,C,K) -> (B,T,D), the buffers."""
    return _node(projected, key, value, last, total, num_heads, maps=False)


def group_query_attention_with_maps(
    projected: Tensor, key: Tensor, value: Tensor, last: Tensor, total: Tensor, num_heads: int
) -> tuple[Tensor, ...]:
    """As `group_query_attention`, with the weights: [row, head, new, total]."""
    return _node(projected, key, value, last, total, num_heads, maps=True)


DECOMPOSITIONS: dict[Any, Callable[..., tuple[Tensor, ...]]] = {
    torch.ops.attendant.cached_attention.default: group_query_attention,
    torch.ops.attendant.cached_attention_maps.default: group_query_attention_with_maps,
}
"""What the exporter is to put in the place of which operator."""


def _node(
    projected: Tensor, key: Tensor, value: Tensor, last: Tensor, total: Tensor, num_heads: int, *, maps: bool
) -> tuple[Tensor, ...]:
    rows, new, width = projected.shape
    shapes = [(rows, new, width // 3), key.shape, value.shape]
    attributes: dict[str, Any] = {"num_heads": num_heads, "kv_num_heads": num_heads}
    if maps:
        attributes["qk_output"] = WEIGHTS_AFTER_SOFTMAX
        shapes.append((rows, num_heads, new, key.shape[2]))
    return tuple(
        torch.onnx.ops.symbolic_multi_out(
            NODE,
            (projected, None, None, key, value, last, total),
            attrs=attributes,
            dtypes=[projected.dtype] * len(shapes),
            shapes=shapes,
            version=1,
        )
    )
