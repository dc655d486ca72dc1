"""How far each key lies from each query, and scores that a head shifts by that distance."""

import torch
from torch import Tensor


def query_positions(target_length: int, source_length: int, device: torch.device | None = None) -> Tensor:
    """Where the queries stand among the keys, int64 (T,): the last T of the S positions, as in `causal_mask`.

    With T = S that is 0 to T-1; with T < S decoding continues after S-T cached keys.
    """
    return torch.arange(target_length, device=device) + (source_length - target_length)


def key_offsets(target_length: int, source_length: int, device: torch.device | None = None) -> Tensor:
    """Position of each key less that of each query, int64 (T,S): negative for the past, positive for the future."""
    source = torch.arange(source_length, device=device)
    return source[None, :] - query_positions(target_length, source_length, device)[:, None]


def add_head_bias(scores: Tensor, bias: Tensor) -> Tensor:
    """Shifts the scores of each head by its own (T,S): (...,H,T,S) and (H,T,S) -> (...,H,T,S).

    Grouped heads, (...,G,H/G,T,S), count as H. Raises ValueError if the scores have another number of heads.
    """
    num_heads = bias.shape[0]
    if scores.dim() >= 3 and scores.shape[-3] == num_heads:
        return scores + bias
    if scores.dim() >= 4 and scores.shape[-4] * scores.shape[-3] == num_heads:
        return scores + bias.reshape(*scores.shape[-4:-2], *bias.shape[1:])
    raise ValueError(f"scores of shape {tuple(scores.shape)} do not have the {num_heads} heads of the mechanism")
