"""Sliding-window attention with a few global positions, which attend to all and are attended to by all."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.attention.band import band_context, band_mask, band_positions, band_scores, spread_band
from models.attention.masks import masked_softmax
from models.attention.scaled_dot_product import ScaledDotProductAttention
from models.attention.shapes import check_one_sequence, key_mask


class GlobalWindowAttended(NamedTuple):
    """What `GlobalWindowAttention` returns, with G global positions.

    context: the values, mixed: (...,T,Kv).
    weights: of the queries that are not global, (...,T,G+2·window+1): first over the global keys, then over the band;
        a global key in the band counts among the first only. Rows of global queries are zero.
    global_weights: of the global queries, over all keys: (...,G,T).
    """

    context: Tensor
    weights: Tensor
    global_weights: Tensor


class GlobalWindowAttention(nn.Module):
    """A sliding window whose first `num_global` positions are global: Beltagy et al. 2020, 3.1, "Global Attention".

    The first positions are what a task reads its answer from, such as a [CLS] token or a question before its text.
    One set of projections serves both kinds, where the paper gives the global queries their own.
    `dropout` acts as in `Mechanism`. Raises ValueError if `window` or `num_global` is not positive.
    """

    def __init__(self, window: int, num_global: int, dropout: float = 0.0) -> None:
        super().__init__()
        if window < 1 or num_global < 1:
            raise ValueError(f"window and num_global must be positive, not {window} and {num_global}")
        self.window = window
        self.num_global = num_global
        self.everywhere = ScaledDotProductAttention(dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> GlobalWindowAttended:
        """Mixes nearby and global values: (...,T,K), (...,T,K), (...,T,Kv) -> `GlobalWindowAttended`.

        `mask` is bool over keys, broadcasts to (...,1,T), True may be attended to; a query with no key in reach gets
        zeros.
        Raises ValueError if the three are not one sequence, query and key differ in K, or the mask does not fit.
        """
        check_one_sequence(query, key, value)
        present = key_mask(mask, key)
        is_first = torch.arange(self.num_global, device=key.device)[:, None] < key.shape[-2]  # (G,1): T may be below G
        first = self.everywhere(self._first(query), key, value, present.unsqueeze(-2) & is_first)
        weights = self._weights(query, key, present)
        dropped = self.dropout(weights)
        near = dropped[..., : self.num_global] @ self._first(value)  # (...,T,G) @ (...,G,Kv)
        near = near + band_context(dropped[..., self.num_global :], value, self.window)
        rest = functional.pad(near, (0, 0, 0, self.num_global))[..., self.num_global :, :]
        context = torch.cat((first.context, rest), dim=-2)[..., : query.shape[-2], :]
        return GlobalWindowAttended(context, weights, first.weights)

    def _weights(self, query: Tensor, key: Tensor, present: Tensor) -> Tensor:
        """Weights of the queries that are not global: (...,T,K), (...,T,K), bool (...,T) -> (...,T,G+2·window+1)."""
        scaled = query * query.shape[-1] ** -0.5
        first_scores = scaled @ self._first(key).transpose(-2, -1)  # (...,T,K) @ (...,K,G)
        scores = torch.cat((first_scores, band_scores(scaled, key, self.window)), dim=-1)
        first_present = self._first(present.unsqueeze(-1)).transpose(-2, -1).expand(first_scores.shape)
        band_present = band_mask(present, self.window) & (band_positions(present, self.window) >= self.num_global)
        is_rest = torch.arange(query.shape[-2], device=query.device)[:, None] >= self.num_global  # (T,1)
        return masked_softmax(scores, torch.cat((first_present, band_present), dim=-1) & is_rest)

    def _first(self, sequence: Tensor) -> Tensor:
        """The global positions, filled up where the sequence is shorter: (...,T,X) -> (...,G,X)."""
        return functional.pad(sequence, (0, 0, 0, self.num_global))[..., : self.num_global, :]


def spread_global_window(attended: GlobalWindowAttended) -> Tensor:
    """Lays the weights out over all keys: -> (...,T,T). For sequences short enough."""
    _, weights, global_weights = attended
    num_global, length = global_weights.shape[-2:]
    first = functional.pad(weights[..., :num_global], (0, length))[..., :length]  # (...,T,G) -> (...,T,T)
    rest = first + spread_band(weights[..., num_global:])
    return torch.cat((global_weights, rest[..., num_global:, :]), dim=-2)[..., :length, :]
