"""Where the tokens of a batch's rows stand, and what must know it: attention, and sums over a row.

Everything else in an encoder works on tokens one by one and is the same in every layout. In `Rows` tokens are (B,T,D),
padded to the longest row. In the packed layouts they are (P,D): P tokens of all rows, one after another, without the
padding between them, so that dense layers are plain matrix products; see `server.packed` for the numbers that say which
token belongs where.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Protocol, Self, runtime_checkable

import torch
from torch import Tensor

from models.attention import Attended, AttentionPooling, Mechanism, MultiHeadAttention, masked_softmax, padding_mask
from models.attention.heads import join_heads, split_heads
from server.packed import PackedLayout

_NEVER = -1e9
"""Added to the score of a pair that may not attend. After the softmax its weight is exactly zero, and a query without a
key gets finite weights, which nobody reads; that is one addition in place of two selections over all pairs."""


class Layout(ABC):
    """A batch's rows in one of the layouts; `positions` holds each token's place in its row, int64 over the tokens."""

    positions: Tensor

    @abstractmethod
    def attend(self, attention: MultiHeadAttention, hidden: Tensor) -> Attended:
        """Self-attention within each row: tokens -> context as tokens, and weights as this layout has them."""

    @abstractmethod
    def mean(self, vectors: Tensor) -> Tensor:
        """The mean over each row's real tokens: tokens -> (B,D); zeros for a row without any."""

    @abstractmethod
    def pool(self, pooling: AttentionPooling, states: Tensor) -> Tensor:
        """Each row summed up by attention: tokens -> (B,D); zeros for a row without real tokens."""


class Rows(Layout):
    """Padded rows: tokens are (B,T,D). `mask` is (B,T), True where a token is real."""

    def __init__(self, mask: Tensor) -> None:
        self.mask = mask
        self.attention_mask = padding_mask(mask)
        self.positions = torch.arange(mask.shape[1], device=mask.device)

    def attend(self, attention: MultiHeadAttention, hidden: Tensor) -> Attended:
        """(B,T,D) -> context (B,T,D), weights as the mechanism lays them out, (B,H,T,T) for most."""
        attended: Attended = attention(hidden, mask=self.attention_mask)
        return attended

    def mean(self, vectors: Tensor) -> Tensor:
        """(B,T,D) -> (B,D)."""
        return masked_mean(vectors, self.mask)

    def pool(self, pooling: AttentionPooling, states: Tensor) -> Tensor:
        """(B,T,D) -> (B,D)."""
        context: Tensor = pooling(states, self.mask).context
        return context


class BlockDiagonal(Layout):
    """Packed: attention over all pairs of tokens, of which those of one segment count; tokens are (P,D).

    `positions` (P) and `segments` (P), the row of each token, are int64, and so is `rows` (B), the rows' numbers. All
    tokens of a segment that no row has attend to one another; they are padding.
    """

    def __init__(self, positions: Tensor, segments: Tensor, rows: Tensor) -> None:
        self.positions = positions
        self.bias = _bias(segments.unsqueeze(1) == segments.unsqueeze(0))  # (P,P)
        self.member = rows.unsqueeze(1) == segments.unsqueeze(0)  # (B,P)

    def attend(self, attention: MultiHeadAttention, hidden: Tensor) -> Attended:
        """(P,D) -> context (P,D), weights (H,P,P)."""
        query, key, value = (split_heads(projected, attention.num_heads) for projected in _project(attention, hidden))
        context, weights = _attend(attention, query, key, value, self.bias)
        return Attended(attention.project_context(join_heads(context)), weights)

    def mean(self, vectors: Tensor) -> Tensor:
        """(P,D) -> (B,D)."""
        share = self.member.to(vectors.dtype)
        return (share @ vectors) / share.sum(dim=1, keepdim=True).clamp(min=1.0)

    def pool(self, pooling: AttentionPooling, states: Tensor) -> Tensor:
        """(P,D) -> (B,D)."""
        scores = pooling.score(states).expand(self.member.shape)  # (P) -> (B,P)
        return masked_softmax(scores, self.member) @ states


class Gathered(Layout):
    """Packed: attention over rows that are gathered for it, padded to the longest, L; all else over tokens, (P,D).

    `positions` (P) is int64; `gather` (B,L), int64, says which token stands at each place of each row, `present`
    (B,L), bool, whether one does, and `scatter` (P), int64, at which of the B*L places each token stands.
    """

    def __init__(self, positions: Tensor, gather: Tensor, present: Tensor, scatter: Tensor) -> None:
        self.positions = positions
        self.shape = gather.shape
        self.gather = gather.flatten()
        self.present = present
        self.scatter = scatter
        self.bias = _bias(present)[:, None, None, :]

    def attend(self, attention: MultiHeadAttention, hidden: Tensor) -> Attended:
        """(P,D) -> context (P,D), weights (B,H,L,L)."""
        query, key, value = (
            split_heads(self.in_rows(projected), attention.num_heads) for projected in _project(attention, hidden)
        )
        context, weights = _attend(attention, query, key, value, self.bias)
        as_tokens = join_heads(context).flatten(0, 1).index_select(0, self.scatter)  # (B,L,D) -> (P,D)
        return Attended(attention.project_context(as_tokens), weights)

    def mean(self, vectors: Tensor) -> Tensor:
        """(P,D) -> (B,D)."""
        return masked_mean(self.in_rows(vectors), self.present)

    def pool(self, pooling: AttentionPooling, states: Tensor) -> Tensor:
        """(P,D) -> (B,D)."""
        scores = self.in_rows(pooling.score(states).unsqueeze(-1)).squeeze(-1)  # (P) -> (B,L)
        weights = masked_softmax(scores, self.present)
        return (weights.unsqueeze(-2) @ self.in_rows(states)).squeeze(-2)  # (B,1,L) @ (B,L,D) -> (B,D)

    @classmethod
    def from_mask(cls, mask: Tensor) -> Self:
        """The real tokens of padded rows: bool (B,T), True where a token is real.

        The first of the P tokens is one that no row has, so that there is always one; `scatter` says of each at which
        of the B*T places it is to be found.
        """
        flat = mask.flatten()
        scatter = torch.cat([torch.zeros(1, dtype=torch.int64, device=mask.device), torch.nonzero(flat).flatten()])
        # Where none stands, its row's last: a row must not meet another's numbers, which may be no numbers.
        gather = flat.cumsum(0).view(mask.shape)
        positions = torch.arange(mask.shape[1], device=mask.device).expand(mask.shape).flatten()
        return cls(positions.index_select(0, scatter), gather, mask, scatter)

    def in_rows(self, vectors: Tensor) -> Tensor:
        """(P,D) -> (B,L,D); where no token stands, stands that of some other place."""
        return vectors.index_select(0, self.gather).view(*self.shape, vectors.shape[-1])


PACKED: Mapping[PackedLayout, type[BlockDiagonal] | type[Gathered]] = {
    "block-diagonal": BlockDiagonal,
    "gathered": Gathered,
}
"""The packed layouts by their names in a manifest; each is made of the graph's inputs beside the data, in order."""


@runtime_checkable
class Packable(Protocol):
    """A network that can answer over tokens that lie in any layout, with the same weights."""

    @property
    def packable(self) -> bool:
        """Whether it can in this configuration."""

    def over(self, layout: Layout, input_ids: Tensor) -> object:
        """What `forward` answers, attention weights as the layout has them."""


def masked_mean(vectors: Tensor, mask: Tensor) -> Tensor:
    """Mean over the real positions: (B,T,D), bool (B,T) -> (B,D); zeros where there is none."""
    present = mask.unsqueeze(-1).to(vectors.dtype)  # (B,T) -> (B,T,1)
    return (vectors * present).sum(dim=1) / present.sum(dim=1).clamp(min=1.0)


def _bias(allowed: Tensor) -> Tensor:
    return torch.where(allowed, 0.0, _NEVER)


def _project(attention: MultiHeadAttention, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Query, key and value of one sequence: (P,D) -> three of (P,D), each token by itself."""
    return attention.project_query(hidden), attention.project_key(hidden), attention.project_value(hidden)


def _attend(attention: MultiHeadAttention, query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Attended:
    """Mixes values under an additive bias over the scores, by the score of the mechanism that `attention` has.

    Raises ValueError if that mechanism compares no pairs: it then has a layout of its own.
    """
    mechanism = attention.mechanism
    if not isinstance(mechanism, Mechanism):
        raise ValueError(f"packed rows cannot run through {type(mechanism).__name__}, which does not score all pairs")
    return mechanism.mix(torch.softmax(mechanism.score(query, key) + bias, dim=-1), value)
