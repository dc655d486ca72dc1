"""Checks that mechanisms outside `Mechanism` share: lengths that must agree, and masks over keys alone."""

import torch
from torch import Tensor

from models.attention.masks import check_mask


def check_lengths(key: Tensor, value: Tensor) -> None:
    """Raises ValueError unless key, (...,S,Kk), and value, (...,S,Kv), have as many positions."""
    if key.shape[-2] != value.shape[-2]:
        raise ValueError(f"key has {key.shape[-2]} positions and value {value.shape[-2]}: they must be as many")


def check_one_sequence(query: Tensor, key: Tensor, value: Tensor) -> None:
    """Raises ValueError unless the three have as many positions, and query and key are equally wide.

    For mechanisms in which a position attends to what stands near it: queries and keys are then one sequence.
    """
    if query.shape[-2] != key.shape[-2]:
        raise ValueError(f"query has {query.shape[-2]} positions and key {key.shape[-2]}: they must be one sequence")
    if query.shape[-1] != key.shape[-1]:
        raise ValueError(f"key is {key.shape[-1]} wide, expected {query.shape[-1]}")
    check_lengths(key, value)


def key_mask(mask: Tensor | None, key: Tensor) -> Tensor:
    """Which keys may be attended to, by every query alike: mask (...,1,S) or None, key (...,S,K) -> bool (...,S).

    For mechanisms that never build T*S numbers, and so take no mask of that size; `padding_mask` makes one that fits.
    Raises ValueError if the mask is not bool, has more than one row of keys, or does not broadcast to (...,1,S).
    """
    lead = key.shape[:-1]
    if mask is None:
        return torch.ones(lead, dtype=torch.bool, device=key.device)
    if mask.dim() > 1 and mask.shape[-2] != 1:
        raise ValueError(f"mask must be over keys alone, (...,1,S), not of shape {tuple(mask.shape)}")
    check_mask(mask, torch.Size((*lead[:-1], 1, lead[-1])))
    return mask.expand(*lead[:-1], 1, lead[-1]).squeeze(-2)
