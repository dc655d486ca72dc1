"""The Transformer decoder: self-attention over what was written, cross-attention over a source, feed-forward."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from models.attention import MultiHeadAttention, causal_mask, padding_mask
from models.attention.masks import check_mask
from models.networks.block import Block, BlockConfig, feed_forward, last_norm
from models.networks.config import check_positive


@dataclass(frozen=True, kw_only=True)
class DecoderConfig(BlockConfig):
    """Size and shape of a decoder; the fields of `BlockConfig` and these.

    d_source: width of the source that is attended over, unless it is `d_model`.
    causal: whether a target sees only itself and what came before it; without it all targets see one another, as where
        learned queries are answered at once (Carion et al. 2020, 3.2).

    Raises ValueError for what `BlockConfig` refuses, and a `d_source` that is not positive.
    """

    d_source: int | None = None
    causal: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.d_source is not None:
            check_positive(d_source=self.d_source)


class DecoderBlockOutput(NamedTuple):
    """What a decoder block returns.

    context: the states after the block, (B,T,D).
    weights: of the self-attention, (B,H,T,T).
    cross_weights: of the attention over the source, (B,H,T,S).
    """

    context: Tensor
    weights: Tensor
    cross_weights: Tensor


class DecoderOutput(NamedTuple):
    """What a decoder returns.

    hidden: the last states, (B,T,D).
    self_attention: the weights of each layer over the targets, (B,H,T,T), first layer first.
    cross_attention: the weights of each layer over the source, (B,H,T,S), first layer first.
    """

    hidden: Tensor
    self_attention: tuple[Tensor, ...]
    cross_attention: tuple[Tensor, ...]


class DecoderBlock(Block):
    """Masked self-attention, attention over a source, a feed-forward layer, each with a residual: Vaswani et al. 2017,
    3.1, with the norm after the sum as there or before the sublayer (Xiong et al. 2020).
    """

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__(config)
        self.causal = config.causal
        self.self_attention = MultiHeadAttention(config.d_model, config.num_heads, dropout=config.dropout)
        self.self_attention_norm = nn.LayerNorm(config.d_model)
        self.cross_attention = MultiHeadAttention(
            config.d_model, config.num_heads, d_source=config.d_source, dropout=config.dropout
        )
        self.cross_attention_norm = nn.LayerNorm(config.d_model)
        self.feed_forward = feed_forward(config)
        self.feed_forward_norm = nn.LayerNorm(config.d_model)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, hidden: Tensor, source: Tensor, mask: Tensor | None = None, source_mask: Tensor | None = None
    ) -> DecoderBlockOutput:
        """Transforms states: (B,T,D), source (B,S,d_source), mask over (B,H,T,T), source mask over (B,H,T,S).

        Both masks are bool, True may attend; a causal block lets a target see only what the mask and causality allow.
        Raises ValueError if a width is not the block's or a mask does not fit.
        """
        queries = self._enter(self.self_attention_norm, hidden)
        attended, weights = self.self_attention(queries, mask=self._allowed(hidden, mask))
        hidden = self._leave(self.self_attention_norm, hidden, self.dropout(attended))
        queries = self._enter(self.cross_attention_norm, hidden)
        attended, cross_weights = self.cross_attention(queries, source, mask=source_mask)
        hidden = self._leave(self.cross_attention_norm, hidden, self.dropout(attended))
        transformed = self.feed_forward(self._enter(self.feed_forward_norm, hidden))
        hidden = self._leave(self.feed_forward_norm, hidden, self.dropout(transformed))
        return DecoderBlockOutput(hidden, weights, cross_weights)

    def _allowed(self, hidden: Tensor, mask: Tensor | None) -> Tensor | None:
        """What the targets may see of one another: the mask, and causality where the block has it."""
        batch, length = hidden.shape[:2]
        if not self.causal:
            return mask
        causal = causal_mask(length, device=hidden.device)
        if mask is None:
            return causal
        check_mask(mask, torch.Size((batch, self.self_attention.num_heads, length, length)))
        return mask & causal


class Decoder(nn.Module):
    """A stack of decoder blocks, closed by a norm where it is pre-norm."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.blocks = nn.ModuleList(DecoderBlock(config) for _ in range(config.num_layers))
        self.last_norm = last_norm(config)

    def forward(
        self, hidden: Tensor, source: Tensor, mask: Tensor | None = None, source_mask: Tensor | None = None
    ) -> DecoderOutput:
        """Transforms embedded targets (B,T,D) under a source (B,S,d_source) -> states and weights.

        `mask` (B,T) is True where a target is real, `source_mask` (B,S) where a source position is; what is not real
        is attended to by nobody. A row whose source is masked as a whole reads nothing from it.
        Raises ValueError if a width is not the decoder's or a mask does not fit.
        """
        over_targets = None if mask is None else padding_mask(mask)
        over_source = None if source_mask is None else padding_mask(source_mask)
        self_attention: list[Tensor] = []
        cross_attention: list[Tensor] = []
        for block in self.blocks:
            hidden, weights, cross_weights = block(hidden, source, over_targets, over_source)
            self_attention.append(weights)
            cross_attention.append(cross_weights)
        return DecoderOutput(self.last_norm(hidden), tuple(self_attention), tuple(cross_attention))
