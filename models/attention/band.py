"""Scores and weights in a band: each position with those at most `window` before and after it.

A band is (...,T,2·window+1): entry j of row t belongs to the key at t - window + j. It is computed chunk by chunk
(Beltagy et al. 2020, 3.1, "Implementation"): a chunk of `window` queries meets the keys of three chunks, its own and
both neighbours, so that time and memory grow with T·window, not with T².
"""

import torch
from torch import Tensor
from torch.nn import functional

from models.attention.chunks import chunked, joined


def band_scores(query: Tensor, key: Tensor, window: int) -> Tensor:
    """Dot products in a band: (...,T,K), (...,T,K) -> (...,T,2·window+1), zero where there is no such key."""
    products = chunked(query, window) @ _with_neighbours(key, window).transpose(-2, -1)  # (...,n,window,3·window)
    # Row r of a chunk needs its columns r to r + 2·window. Rows one longer than they are shift each by one more.
    shifted = torch.unflatten(functional.pad(products.flatten(-2), (0, window)), -1, (window, 3 * window + 1))
    return joined(shifted[..., : 2 * window + 1], query.shape[-2])


def band_mask(present: Tensor, window: int) -> Tensor:
    """Which entries of a band are keys that may be attended to: bool (...,T) -> bool (...,T,2·window+1)."""
    return functional.pad(present, (window, window))[..., band_positions(present, window) + window]


def band_positions(present: Tensor, window: int) -> Tensor:
    """Which key each entry of a band belongs to: any tensor (...,T) -> int64 (T,2·window+1), outside [0,T) for none."""
    rows = torch.arange(present.shape[-1], device=present.device)
    return rows[:, None] + torch.arange(-window, window + 1, device=present.device)


def band_context(weights: Tensor, value: Tensor, window: int) -> Tensor:
    """Mixes values by weights in a band: (...,T,2·window+1), (...,T,Kv) -> (...,T,Kv)."""
    rows = functional.pad(chunked(weights, window), (0, window))  # (...,n,window,3·window+1)
    # The shift of `band_scores`, undone: rows one shorter than they are.
    unshifted = torch.unflatten(rows.flatten(-2)[..., :-window], -1, (window, 3 * window))
    return joined(unshifted @ _with_neighbours(value, window), value.shape[-2])


def spread_band(weights: Tensor) -> Tensor:
    """Lays a band out over all keys: (...,T,2·window+1) -> (...,T,T), zero outside. For sequences short enough."""
    length, window = weights.shape[-2], weights.shape[-1] // 2
    rows = functional.pad(weights, (0, length)).flatten(-2)[..., : length * (length + 2 * window)]
    return torch.unflatten(rows, -1, (length, length + 2 * window))[..., window : window + length]


def _with_neighbours(sequence: Tensor, window: int) -> Tensor:
    """Each chunk between the one before and the one after, zeros beyond the ends: (...,T,X) -> (...,n,3·window,X)."""
    chunks = chunked(sequence, window)
    around = functional.pad(chunks, (0, 0, 0, 0, 1, 1))
    return torch.cat((around[..., :-2, :, :], chunks, around[..., 2:, :, :]), dim=-2)
