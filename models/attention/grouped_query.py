"""Grouped-query attention: several query heads share one head of keys and values; multi-query is one such group."""

from torch import Tensor, nn

from models.attention.masks import masked_softmax
from models.attention.mechanism import Attended, Mechanism, check_width
from models.attention.scaled_dot_product import ScaledDotProductAttention
from models.attention.shapes import check_lengths


class GroupedQueryAttention(nn.Module):
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
        super().__init__()
        if num_heads < 1 or d_model < 1 or d_model % num_heads != 0:
            raise ValueError(f"d_model {d_model} does not divide into {num_heads} heads")
        if num_kv_heads < 1 or num_heads % num_kv_heads != 0:
            raise ValueError(f"{num_heads} heads do not divide into {num_kv_heads} groups")
        if mechanism is not None and dropout:
            raise ValueError("dropout belongs to the mechanism: give it there")
        d_source = d_model if d_source is None else d_source
        d_shared = d_model // num_heads * num_kv_heads
        self.num_heads = num_heads
        self.num_kv_heads = num_kv_heads
        self.project_query = nn.Linear(d_model, d_model, bias=bias)
        self.project_key = nn.Linear(d_source, d_shared, bias=bias)
        self.project_value = nn.Linear(d_source, d_shared, bias=bias)
        self.project_context = nn.Linear(d_model, d_model, bias=bias)
        self.mechanism = ScaledDotProductAttention(dropout) if mechanism is None else mechanism
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws the projections anew: Xavier for the weights, zero for the biases."""
        for projection in (self.project_query, self.project_key, self.project_value, self.project_context):
            nn.init.xavier_uniform_(projection.weight)
            if projection.bias is not None:
                nn.init.zeros_(projection.bias)

    def forward(
        self, query: Tensor, key: Tensor | None = None, value: Tensor | None = None, mask: Tensor | None = None
    ) -> Attended:
        """Attends in all heads: (B,T,D), (B,S,d_source), (B,S,d_source) -> context (B,T,D), weights (B,H,T,S).

        `key` is the query and `value` the key unless given. `mask` is bool, broadcasts to (B,H,T,S), True may attend;
        a query with no key to attend to gets the bias of the last projection, and zero weights. Each H/G neighbouring
        heads share keys and values.
        Raises ValueError if a width is not the module's, key and value differ in S, or the mask does not fit.
        """
        key = query if key is None else key
        value = key if value is None else value
        check_width("query", query, self.project_query.in_features)
        check_width("key", key, self.project_key.in_features)
        check_width("value", value, self.project_value.in_features)
        check_lengths(key, value)
        queries = self._grouped(self._split(self.project_query(query), self.num_heads))  # (B,G,H/G,T,K)
        keys = self._split(self.project_key(key), self.num_kv_heads).unsqueeze(2)  # (B,G,1,S,K)
        scores = self.mechanism.score(queries, keys).flatten(1, 2)  # (B,G,H/G,T,S) -> (B,H,T,S)
        weights = masked_softmax(scores, mask)
        mixed = self._mix(self.mechanism.dropout(weights), self._split(self.project_value(value), self.num_kv_heads))
        context: Tensor = self.project_context(mixed.transpose(1, 2).flatten(2))  # (B,H,T,K) -> (B,T,D)
        return Attended(context, weights)

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

    @staticmethod
    def _split(projected: Tensor, num_heads: int) -> Tensor:
        """Gives each head its slice of the width: (B,T,heads*K) -> (B,heads,T,K)."""
        width = projected.shape[-1] // num_heads
        return projected.reshape(*projected.shape[:-1], num_heads, width).transpose(1, 2)
