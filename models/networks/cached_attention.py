"""Causal self-attention of new tokens over a buffer that holds the keys and values of what came before.

The buffer may be longer than what a row holds, and each row may hold another length: the new keys and values are
written behind its own, and nothing behind them is read. It is an operator of its own, so that the export can put one
node in its place: see `models.export.cached_attention`.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from models.attention.heads import join_heads, split_heads
from models.attention.masks import masked_softmax


class Places(NamedTuple):
    """Where the new tokens of a step stand; what all layers share.

    last: the position of each row's last new token, int32 (B).
    total: one more than the greatest of them, int32 ().
    """

    last: Tensor
    total: Tensor


class CacheAttended(NamedTuple):
    """What the new tokens took from the buffers, (B,T,D); the buffers with the new keys and values, (B,H,C,K)."""

    context: Tensor
    key: Tensor
    value: Tensor


class CacheAttendedMaps(NamedTuple):
    """As `CacheAttended`; and the weights, (B,H,T,C), zero for positions that a token does not see."""

    context: Tensor
    key: Tensor
    value: Tensor
    weights: Tensor


def places(lengths: Tensor, new: int) -> Places:
    """Where `new` tokens stand behind the positions that rows hold: int32 (B)."""
    return Places((lengths + (new - 1)).to(torch.int32), (lengths.max() + new).to(torch.int32))


def attend_cached(projected: Tensor, key: Tensor, value: Tensor, where: Places, num_heads: int) -> CacheAttended:
    """Attends: queries, keys and values side by side (B,T,3D), buffers (B,H,C,K) -> context (B,T,D) and the buffers.

    Scores are divided by sqrt(K). Each new token sees its row's own positions up to itself. Not differentiable.
    Raises ValueError if a new token stands outside the buffers.
    """
    return CacheAttended(*torch.ops.attendant.cached_attention(projected, key, value, *where, num_heads))


def attend_cached_with_maps(
    projected: Tensor, key: Tensor, value: Tensor, where: Places, num_heads: int
) -> CacheAttendedMaps:
    """As `attend_cached`, with the weights."""
    return CacheAttendedMaps(*torch.ops.attendant.cached_attention_maps(projected, key, value, *where, num_heads))


@torch.library.custom_op("attendant::cached_attention", mutates_args=())
def _cached(
    projected: Tensor, key: Tensor, value: Tensor, last: Tensor, total: Tensor, num_heads: int
) -> tuple[Tensor, Tensor, Tensor]:
    return _attend(projected, key, value, last, total, num_heads)[:3]


@torch.library.custom_op("attendant::cached_attention_maps", mutates_args=())
def _cached_maps(
    projected: Tensor, key: Tensor, value: Tensor, last: Tensor, total: Tensor, num_heads: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return _attend(projected, key, value, last, total, num_heads)


def _attend(
    projected: Tensor, key: Tensor, value: Tensor, last: Tensor, total: Tensor, num_heads: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Both operators; `total` is only what the exported node wants to be told."""
    new, capacity = projected.shape[1], key.shape[2]
    own = last.long()[:, None] + torch.arange(1 - new, 1, device=last.device)  # (B,T): where each new token stands
    if bool((own < 0).any()) or bool((own >= capacity).any()) or int(total) != int(last.max()) + 1:
        raise ValueError(f"new tokens at {own.tolist()} do not fit buffers of {capacity} positions")
    queries, keys, values = (split_heads(part, num_heads) for part in projected.chunk(3, dim=-1))
    row = torch.arange(projected.shape[0], device=last.device)[:, None]
    key, value = key.clone(), value.clone()
    key[row, :, own] = keys.transpose(1, 2)  # (B,T) places of (B,H,C,K) take (B,T,H,K)
    value[row, :, own] = values.transpose(1, 2)
    seen = torch.arange(capacity, device=last.device) <= own[:, None, :, None]  # (B,1,T,C)
    scores = queries * queries.shape[-1] ** -0.5 @ key.transpose(-2, -1)
    weights = masked_softmax(scores, seen)
    unread = torch.arange(capacity, device=last.device)[:, None] > last[:, None, None, None]  # (B,1,C,1)
    context = join_heads(weights @ value.masked_fill(unread, 0.0))  # what a buffer holds by chance may be infinite
    return context, key, value, weights


@_cached.register_fake
def _cached_shapes(
    projected: Tensor, key: Tensor, value: Tensor, last: Tensor, total: Tensor, num_heads: int
) -> tuple[Tensor, Tensor, Tensor]:
    rows, new, width = projected.shape
    return projected.new_empty(rows, new, width // 3), torch.empty_like(key), torch.empty_like(value)


@_cached_maps.register_fake
def _cached_maps_shapes(
    projected: Tensor, key: Tensor, value: Tensor, last: Tensor, total: Tensor, num_heads: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    context, key, value = _cached_shapes(projected, key, value, last, total, num_heads)
    weights = projected.new_empty(projected.shape[0], num_heads, projected.shape[1], key.shape[2])
    return context, key, value, weights
