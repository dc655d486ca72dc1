"""Masks over (query, key) pairs, and the one softmax that respects them.

A mask is a bool tensor that broadcasts to the scores (...,T,S); True may attend.
"""

import torch
from torch import Tensor


def padding_mask(present: Tensor) -> Tensor:
    """Turns which source positions are real, (B,S), into a mask over (B,H,T,S): (B,1,1,S).

    Raises ValueError if `present` is not a bool tensor of two axes.
    """
    if present.dtype != torch.bool or present.dim() != 2:
        raise ValueError(f"present must be bool of shape (B,S), not {present.dtype} of {present.dim()} axes")
    return present[:, None, None, :]


def causal_mask(target_length: int, source_length: int | None = None, device: torch.device | None = None) -> Tensor:
    """Lets each target attend to itself and what came before: (1,1,T,S), by default with S = T.

    With S > T the targets are the last T of the S positions, as when decoding continues after a cached prefix.
    """
    if source_length is None:
        source_length = target_length
    target = torch.arange(target_length, device=device) + (source_length - target_length)
    source = torch.arange(source_length, device=device)
    return (source[None, :] <= target[:, None])[None, None]


def combine_masks(*masks: Tensor | None) -> Tensor | None:
    """Allows what all masks allow, broadcasting them together; None masks nothing, and nothing but None gives None."""
    combined: Tensor | None = None
    for mask in masks:
        if mask is not None:
            combined = mask if combined is None else combined & mask
    return combined


def check_mask(mask: Tensor, scores_shape: torch.Size) -> None:
    """Checks that a mask is bool and broadcasts to scores of the given shape (...,T,S) without enlarging them.

    Raises ValueError if it is not bool, has more axes than the scores, or an axis that is neither 1 nor the scores'.
    """
    if mask.dtype != torch.bool:
        raise ValueError(f"mask must be bool (True may attend), not {mask.dtype}")
    aligned = scores_shape[len(scores_shape) - mask.dim() :]
    if mask.dim() > len(scores_shape) or any(m not in (1, s) for m, s in zip(mask.shape, aligned, strict=True)):
        raise ValueError(f"mask of shape {tuple(mask.shape)} does not fit scores of shape {tuple(scores_shape)}")


def masked_softmax(scores: Tensor, mask: Tensor | None = None) -> Tensor:
    """Normalises scores over the keys, the last axis: (...,S) -> weights (...,S) that sum to one.

    Masked keys get exactly zero, whatever their score, NaN included; a row with no key left is all zeros. No keys at
    all (S = 0) gives empty rows. Raises ValueError if `mask` is not bool or does not broadcast to the scores.
    """
    if mask is None:
        return torch.softmax(scores, dim=-1)
    check_mask(mask, scores.shape)
    # The lowest finite number, not -inf: a row of -inf would give NaN, forward and backward. Such a row comes out of
    # the softmax uniform instead, and the second fill makes it, and any other masked key, exactly zero.
    lowest = torch.finfo(scores.dtype).min
    return torch.softmax(scores.masked_fill(~mask, lowest), dim=-1).masked_fill(~mask, 0.0)
