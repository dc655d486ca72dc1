"""Block attention: sub-sequences attended apart, then merged by attention over their summaries."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from models.attention.chunks import chunked, chunked_keys, joined, spread_chunks
from models.attention.masks import masked_softmax
from models.attention.mechanism import check_width
from models.attention.shapes import check_one_sequence, key_mask


class BlockAttended(NamedTuple):
    """What `BlockAttention` returns, with n blocks of L positions.

    context: the values, mixed: (...,T,Kv).
    weights: how much each query took from the L keys of its own block and from the summaries of all n blocks:
        (...,T,L+n), each row summing to one or to zero.
    summary_weights: how much each summary took from the keys of its block: (...,n,L).
    """

    context: Tensor
    weights: Tensor
    summary_weights: Tensor


class BlockAttention(nn.Module):
    """Attends within each block of `block` positions and, through one summary a block, between blocks:

    context_t = (1 - g_t) · attend(q_t, own block) + g_t · attend(q_t, summaries), g_t = sigmoid(w · q_t + b),
    where a summary's key and value are the means of its block's by weights softmax_s(u · k_s / sqrt(K)).

    After Shen et al. 2018, "Bi-Directional Block Self-Attention for Fast and Memory-Efficient Sequence Modeling", 3:
    attention within blocks, one vector a block by attention pooling with a learned query u, attention between blocks,
    a gate that merges both. Here scores are scaled dot products in place of the paper's one score a feature, and the
    gate is one number a query, so that the way from each key to each context is one weight (`spread_blocks`).

    `d_key` is the width K of query and key. `dropout` acts as in `Mechanism`.
    Raises ValueError if `d_key` or `block` is not positive.
    """

    def __init__(self, d_key: int, block: int, dropout: float = 0.0) -> None:
        super().__init__()
        if d_key < 1 or block < 1:
            raise ValueError(f"d_key and block must be positive, not {d_key} and {block}")
        self.block = block
        self.summary_query = nn.Parameter(torch.empty(d_key))
        nn.init.normal_(self.summary_query)
        self.gate = nn.Linear(d_key, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> BlockAttended:
        """Mixes values within and between blocks: (...,T,K), (...,T,K), (...,T,Kv) -> `BlockAttended`.

        T need not be a multiple of the block. `mask` is bool over keys, broadcasts to (...,1,T), True may be attended
        to; a query whose own block is masked takes from the summaries alone, and one with no key at all gets zeros.
        Raises ValueError if a width is not the module's, the three are not one sequence, or the mask does not fit.
        """
        check_width("query", query, self.gate.in_features)
        check_one_sequence(query, key, value)
        scaled = query * query.shape[-1] ** -0.5
        there = key_mask(mask, key)  # (...,T)
        present = chunked_keys(there, self.block)  # (...,n,L)
        # A masked key may be anything, NaN included, and keys are mixed here: zero times NaN is NaN.
        keys = chunked(key.masked_fill(~there.unsqueeze(-1), 0.0), self.block)  # (...,n,L,K)
        values = chunked(value, self.block)  # (...,n,L,Kv)
        # A column rather than a vector: ONNX Runtime's int8 product with a vector gives it the wrong shape.
        summary_scores = (keys @ self.summary_query.unsqueeze(-1)).squeeze(-1)  # (...,n,L,K) -> (...,n,L)
        summary_weights = masked_softmax(summary_scores * query.shape[-1] ** -0.5, present)
        within = self._within(scaled, keys, present)
        between = self._between(scaled, _summaries(summary_weights, keys), present)
        share = self._share(query, present)
        weights = torch.cat(((1 - share) * within, share * between), dim=-1)
        dropped = self.dropout(weights)
        own = joined(chunked(dropped[..., : self.block], self.block) @ values, query.shape[-2])
        # (...,T,n) @ (...,n,Kv)
        context = own + dropped[..., self.block :] @ _summaries(summary_weights, values)
        return BlockAttended(context, weights, summary_weights)

    def _within(self, scaled: Tensor, keys: Tensor, present: Tensor) -> Tensor:
        """Weights over a query's own block: (...,T,K), (...,n,L,K), (...,n,L) -> (...,T,L)."""
        scores = chunked(scaled, self.block) @ keys.transpose(-2, -1)  # (...,n,L,L)
        return joined(masked_softmax(scores, present.unsqueeze(-2)), scaled.shape[-2])

    def _between(self, scaled: Tensor, summary_keys: Tensor, present: Tensor) -> Tensor:
        """Weights over the summaries of blocks that have a key: (...,T,K), (...,n,K), (...,n,L) -> (...,T,n)."""
        return masked_softmax(scaled @ summary_keys.transpose(-2, -1), present.any(-1).unsqueeze(-2))

    def _share(self, query: Tensor, present: Tensor) -> Tensor:
        """The gate, one where the own block has no key: (...,T,K), (...,n,L) -> (...,T,1)."""
        own = joined(present.any(-1)[..., None, None].expand(*present.shape, 1), query.shape[-2])
        share: Tensor = torch.sigmoid(self.gate(query)).masked_fill(~own, 1.0)
        return share


def _summaries(summary_weights: Tensor, chunks: Tensor) -> Tensor:
    """The mean of each block: (...,n,L), (...,n,L,X) -> (...,n,X)."""
    return (summary_weights.unsqueeze(-2) @ chunks).squeeze(-2)


def spread_blocks(attended: BlockAttended) -> Tensor:
    """Lays the weights out over all keys, through the summaries too: -> (...,T,T). For sequences short enough."""
    _, weights, summary_weights = attended
    block = summary_weights.shape[-1]
    through = weights[..., block:].unsqueeze(-1) * summary_weights.unsqueeze(-3)  # (...,T,n,1) * (...,1,n,L)
    return spread_chunks(weights[..., :block]) + through.flatten(-2)[..., : weights.shape[-2]]
