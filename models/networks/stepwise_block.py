"""The decoder block of networks that write token by token: its weights lie as a single step wants them.

Queries, keys and values of the self-attention are one product. The source's keys and values are made once, before the
first step, and the keys lie transposed, as the scores need them at every step.
"""

from typing import NamedTuple

from torch import Tensor, nn

from models.attention.heads import join_heads, split_heads
from models.attention.masks import masked_softmax
from models.attention.mechanism import Attended, check_width
from models.attention.scaled_dot_product import ScaledDotProductAttention
from models.networks.block import Block, BlockConfig, feed_forward
from models.networks.cached_attention import Places, attend_cached, attend_cached_with_maps
from models.networks.layout import Gathered


class SourceHeads(NamedTuple):
    """What a layer reads from the source: keys (B,H,K,S), values (B,H,S,K)."""

    key: Tensor
    value: Tensor


class SteppedSelf(NamedTuple):
    """The context of the new tokens (B,T,D), the buffers afterwards, and the weights (B,H,T,C), None without maps."""

    context: Tensor
    key: Tensor
    value: Tensor
    weights: Tensor | None


class SteppedBlock(NamedTuple):
    """The states of the new tokens (B,T,D), the buffers afterwards, and the weights over what was written and over the
    source; None without maps, and the latter without a source.
    """

    hidden: Tensor
    key: Tensor
    value: Tensor
    weights: Tensor | None
    cross_weights: Tensor | None


class CachedSelfAttention(nn.Module):
    """Multi-head self-attention (Vaswani et al. 2017, 3.2.2) over a whole sequence, or step by step over buffers."""

    def __init__(self, d_model: int, num_heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.project = nn.Linear(d_model, 3 * d_model)
        self.project_context = nn.Linear(d_model, d_model)
        self.mechanism = ScaledDotProductAttention(dropout)
        _reset(self.project, 3)
        _reset(self.project_context)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """All positions at once: (B,T,D), mask over (B,H,T,T) -> context (B,T,D). Raises ValueError for another D."""
        check_width("hidden", hidden, self.project.in_features)
        heads = (split_heads(part, self.num_heads) for part in self.project(hidden).chunk(3, dim=-1))
        context: Tensor = self.project_context(join_heads(self.mechanism(*heads, mask).context))
        return context

    def step(self, hidden: Tensor, key: Tensor, value: Tensor, where: Places, maps: bool) -> SteppedSelf:
        """New positions behind those in the buffers: (B,T,D), buffers (B,H,C,K) -> context (B,T,D)."""
        projected, weights = self.project(hidden), None
        if maps:
            context, key, value, weights = attend_cached_with_maps(projected, key, value, where, self.num_heads)
        else:
            context, key, value = attend_cached(projected, key, value, where, self.num_heads)
        return SteppedSelf(self.project_context(context), key, value, weights)


class SourceAttention(nn.Module):
    """Multi-head attention over a source whose keys and values are made once: Vaswani et al. 2017, 3.2.3."""

    def __init__(self, d_model: int, num_heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.project_query = nn.Linear(d_model, d_model)
        self.project_source = nn.Linear(d_model, 2 * d_model)
        self.project_context = nn.Linear(d_model, d_model)
        self.mechanism = ScaledDotProductAttention(dropout)
        _reset(self.project_query)
        _reset(self.project_source, 2)
        _reset(self.project_context)

    def read(self, source: Tensor, layout: Gathered | None = None) -> SourceHeads:
        """The source's keys and values: (B,S,D), or packed in the layout (P,D) -> (B,H,K,S), (B,H,S,K)."""
        projected = self.project_source(source)
        if layout is not None:
            projected = layout.in_rows(projected)
        key, value = (split_heads(part, self.num_heads) for part in projected.chunk(2, dim=-1))
        return SourceHeads(key.transpose(-2, -1), value)

    def forward(self, hidden: Tensor, source: SourceHeads, mask: Tensor) -> Attended:
        """Attends over the source: (B,T,D), mask over (B,H,T,S) -> context (B,T,D), weights (B,H,T,S)."""
        check_width("hidden", hidden, self.project_query.in_features)
        query = split_heads(self.project_query(hidden), self.num_heads)
        scores = query * query.shape[-1] ** -0.5 @ source.key  # (B,H,T,K) @ (B,H,K,S)
        context, weights = self.mechanism.mix(masked_softmax(scores, mask), source.value)
        return Attended(self.project_context(join_heads(context)), weights)


class StepwiseBlock(Block):
    """Self-attention over what was written, attention over a source where there is one, a feed-forward layer: Vaswani
    et al. 2017, 3.1, with the norm after the sum as there or before the sublayer (Xiong et al. 2020).
    """

    def __init__(self, config: BlockConfig, *, reads_source: bool) -> None:
        super().__init__(config)
        self.self_attention = CachedSelfAttention(config.d_model, config.num_heads, config.dropout)
        self.self_attention_norm = nn.LayerNorm(config.d_model)
        self.source_attention: SourceAttention | None = None
        if reads_source:
            self.source_attention = SourceAttention(config.d_model, config.num_heads, config.dropout)
            self.source_attention_norm = nn.LayerNorm(config.d_model)
        self.feed_forward = feed_forward(config)
        self.feed_forward_norm = nn.LayerNorm(config.d_model)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, hidden: Tensor, mask: Tensor, source: SourceHeads | None = None, source_mask: Tensor | None = None
    ) -> Tensor:
        """All positions at once: (B,T,D), mask over (B,H,T,T), source mask over (B,H,T,S) -> (B,T,D)."""
        attended = self.self_attention(self._enter(self.self_attention_norm, hidden), mask)
        hidden = self._leave(self.self_attention_norm, hidden, self.dropout(attended))
        hidden, _ = self._read_source(hidden, source, source_mask)
        return self._transform(hidden)

    def step(
        self,
        hidden: Tensor,
        key: Tensor,
        value: Tensor,
        where: Places,
        source: SourceHeads | None = None,
        source_mask: Tensor | None = None,
        *,
        maps: bool,
    ) -> SteppedBlock:
        """New positions behind those in the buffers: (B,T,D), buffers (B,H,C,K) -> (B,T,D)."""
        entered = self._enter(self.self_attention_norm, hidden)
        attended, key, value, weights = self.self_attention.step(entered, key, value, where, maps)
        hidden = self._leave(self.self_attention_norm, hidden, attended)
        hidden, cross_weights = self._read_source(hidden, source, source_mask)
        return SteppedBlock(self._transform(hidden), key, value, weights, cross_weights if maps else None)

    def _read_source(
        self, hidden: Tensor, source: SourceHeads | None, source_mask: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        if self.source_attention is None or source is None or source_mask is None:
            return hidden, None
        queries = self._enter(self.source_attention_norm, hidden)
        attended, weights = self.source_attention(queries, source, source_mask)
        return self._leave(self.source_attention_norm, hidden, self.dropout(attended)), weights

    def _transform(self, hidden: Tensor) -> Tensor:
        transformed = self.feed_forward(self._enter(self.feed_forward_norm, hidden))
        return self._leave(self.feed_forward_norm, hidden, self.dropout(transformed))


def _reset(linear: nn.Linear, parts: int = 1) -> None:
    """Draws a projection anew, each of its parts as one by itself: Xavier for the weights, zero for the biases."""
    for part in linear.weight.chunk(parts):
        nn.init.xavier_uniform_(part)
    nn.init.zeros_(linear.bias)
