"""Sequences cut into chunks of equal length, so that attention near a position needs no T*S scores."""

import torch
from torch import Tensor
from torch.nn import functional


def chunked(sequence: Tensor, size: int) -> Tensor:
    """Cuts (...,T,X) -> (...,n,size,X), n the least number of chunks that holds T; zeros, or False, fill the last."""
    missing = -sequence.shape[-2] % size
    return torch.unflatten(functional.pad(sequence, (0, 0, 0, missing)), -2, (-1, size))


def chunked_keys(present: Tensor, size: int) -> Tensor:
    """As `chunked`, for a mask over keys: bool (...,S) -> (...,n,size)."""
    return chunked(present.unsqueeze(-1), size).squeeze(-1)


def joined(chunks: Tensor, length: int) -> Tensor:
    """Undoes `chunked`: (...,n,size,X) -> (...,T,X), without what filled the last chunk."""
    return chunks.flatten(-3, -2)[..., :length, :]


def spread_chunks(weights: Tensor) -> Tensor:
    """Lays weights over the keys of a query's own chunk out over all keys: (...,T,size) -> (...,T,T), zero elsewhere.

    For sequences short enough.
    """
    length, size = weights.shape[-2:]
    chunk = torch.arange(length, device=weights.device) // size  # which chunk each position lies in
    same = chunk[:, None] == chunk[None, :]
    within = torch.arange(length, device=weights.device) % size  # and where in it
    return weights[..., within].masked_fill(~same, 0.0)
