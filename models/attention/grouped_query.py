"""Grouped-query attention: several query heads share one head of keys and values; multi-query is one such group."""

from torch import Tensor

from models.attention.heads import ProjectedHeads, check_dropout
from models.attention.masks import masked_softmax
from models.attention.mechanism import Attended, Mechanism
from models.attention.scaled_dot_product import ScaledDotProductAttention
from models.attention.shapes import check_lengths


class GroupedQueryAttention(ProjectedHeads):
    """H query heads in G groups, each with one key and one value head: Ainslie et al. 2023, "GQA: Training Generalized
    Multi-Query Transformer Models from Multi-Head Checkpoints", 2.2.

    G = 1 is multi-query attention (Shazeer 2019, "Fast Transformer Decoding: One Write-Head is All You Need", 3);
    G = H is multi-head attention. What decoding must keep of the past shrinks by H/G. `mechanism` does the scoring and
    is the scaled dot product unless given; given, it brings its own dropout. It sees the queries as (B,G,H/G,T,K) and
    the keys as (B,G,1,S,K): the group's keys are broadcast, never repeated by this module.

    Raises ValueError if `d_model` does not divide into `num_heads` heads, or these into `num_kv_heads` groups, or if
    both `mechanism` and `dropout` are given.
    """

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        num_kv_heads: int,
        *,
        d_source: int | None = None,
        bias: bool = True,
        dropout: float = 0.0,
        mechanism: Mechanism | None = None,
    ) -> None:
        super().__init__(d_model, num_heads, num_kv_heads, d_source, bias)
        check_dropout(mechanism, dropout)
        self.mechanism = ScaledDotProductAttention(dropout) if mechanism is None else mechanism

    def forward(
        self, query: Tensor, key: Tensor | None = None, value: Tensor | None = None, mask: Tensor | None = None
    ) -> Attended:
        """Attends in all heads: (B,T,D), (B,S,d_source), (B,S,d_source) -> context (B,T,D), weights (B,H,T,S).

        `key` is the query and `value` the key unless given. `mask` is bool, broadcasts to (B,H,T,S), True may attend;
        a query with no key to attend to gets the bias of the last projection, and zero weights. Each H/G neighbouring
        heads share keys and values.
        Raises ValueError if a width is not the module's, key and value differ in S, or the mask does not fit.
        """
        queries, keys, values = self.into_heads(query, key, value)  # (B,H,T,K), (B,G,S,K), (B,G,S,K)
        check_lengths(keys, values)
        scores = self.mechanism.score(self._grouped(queries), keys.unsqueeze(2)).flatten(
            1, 2
        )  # (B,G,H/G,T,S) -> (B,H,T,S)
        weights = masked_softmax(scores, mask)
        return Attended(self.out_of_heads(self._mix(self.mechanism.dropout(weights), values)), weights)

    def _mix(self, weights: Tensor, values: Tensor) -> Tensor:
        """Mixes each group's values: (B,H,T,S), (B,G,S,K) -> (B,H,T,K).

        All queries of a group are rows of one product, so that no value is copied.
        """
        rows = self._grouped(weights).flatten(2, 3)  # (B,G,H/G,T,S) -> (B,G,H/G*T,S)
        mixed = rows @ values  # (B,G,H/G*T,K)
        return mixed.reshape(*weights.shape[:3], values.shape[-1])

    def _grouped(self, heads: Tensor) -> Tensor:
        """Lays the heads out in their groups: (B,H,...) -> (B,G,H/G,...)."""
        return heads.reshape(heads.shape[0], self.num_kv_heads, self.num_heads // self.num_kv_heads, *heads.shape[2:])
