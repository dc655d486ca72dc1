"""The Transformer encoder: self-attention and a feed-forward layer, stacked."""

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor, nn

from models.attention import (
    Attended,
    MultiHeadAttention,
    ScaledDotProductAttention,
    SlidingWindowAttention,
)
from models.networks.block import Block, BlockConfig, feed_forward, last_norm
from models.networks.config import check_positive
from models.networks.layout import Layout, Rows


@dataclass(frozen=True, kw_only=True)
class EncoderConfig(BlockConfig):
    """Size and shape of an encoder; the fields of `BlockConfig` and this.

    window: how many positions before its own, and as many after it, each position attends to; None: all. Time and
        memory then grow with the length, not with its square (Beltagy et al. 2020, 3.1), and what stands further away
        comes in over several layers: n of them reach n·window positions.

    Raises ValueError for what `BlockConfig` refuses, and for a window that is not positive.
    """

    window: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.window is not None:
            check_positive(window=self.window)


class EncoderOutput(NamedTuple):
    """What an encoder returns.

    hidden: the last states, (B,T,D).
    attention: the weights of each layer, first layer first: (B,H,T,T), or with a window its band,
        (B,H,T,2·window+1), which `spread_band` lays out over all keys.
    """

    hidden: Tensor
    attention: tuple[Tensor, ...]


class EncoderBlock(Block):
    """Self-attention, then a feed-forward layer, each with a residual: Vaswani et al. 2017, 3.1 and 3.3."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__(config)
        mechanism = (
            ScaledDotProductAttention(config.dropout)
            if config.window is None
            else SlidingWindowAttention(config.window, config.dropout)
        )
        self.attention = MultiHeadAttention(config.d_model, config.num_heads, mechanism=mechanism)
        self.attention_norm = nn.LayerNorm(config.d_model)
        self.feed_forward = feed_forward(config)
        self.feed_forward_norm = nn.LayerNorm(config.d_model)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, hidden: Tensor, mask: Tensor | Layout | None = None) -> Attended:
        """Transforms states: (B,T,D), mask over (B,H,T,T) -> context (B,T,D), weights (B,H,T,T).

        With a window the mask is over keys alone, (B,1,1,T), and the weights are its band, (B,H,T,2·window+1).
        A layout in place of the mask says who may attend to whom, and the states are then tokens as it has them.
        Raises ValueError if the width is not the block's or the mask does not fit, or a packed layout meets a window.
        """
        entered = self._enter(self.attention_norm, hidden)
        attended, weights = (
            mask.attend(self.attention, entered) if isinstance(mask, Layout) else self.attention(entered, mask=mask)
        )
        hidden = self._leave(self.attention_norm, hidden, self.dropout(attended))
        transformed = self.feed_forward(self._enter(self.feed_forward_norm, hidden))
        return Attended(self._leave(self.feed_forward_norm, hidden, self.dropout(transformed)), weights)


class Encoder(nn.Module):
    """A stack of encoder blocks, closed by a norm where it is pre-norm."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.blocks = nn.ModuleList(EncoderBlock(config) for _ in range(config.num_layers))
        self.last_norm = last_norm(config)

    def forward(self, hidden: Tensor, mask: Tensor | Layout | None = None) -> EncoderOutput:
        """Transforms embedded tokens: (B,T,D), mask (B,T) True where a token is real -> states and weights.

        A position that is not real is attended to by nobody; its own state means nothing. A layout in place of the
        mask says which tokens are real, and the states are then tokens as it has them.
        """
        layout = Rows(mask) if isinstance(mask, Tensor) else mask
        attention: list[Tensor] = []
        for block in self.blocks:
            hidden, weights = block(hidden, layout)
            attention.append(weights)
        return EncoderOutput(self.last_norm(hidden), tuple(attention))
