"""The Transformer encoder: self-attention and a feed-forward layer, stacked."""

from dataclasses import dataclass
from typing import NamedTuple, Self

from torch import Tensor, nn

from models.attention import Attended, MultiHeadAttention, padding_mask
from models.networks.config import check_positive, check_probability


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """Size and shape of an encoder.

    d_model: width of the hidden states; divides into the heads.
    d_ff: width inside the feed-forward layers.
    dropout: on attention weights, inside the feed-forward layers, and on what each sublayer adds.
    norm_first: layer norm before each sublayer (pre-norm: trains without warm-up, Xiong et al. 2020) or after the
        residual sum (post-norm, as in Vaswani et al. 2017).

    Raises ValueError for sizes that are not positive, a `d_model` that does not divide into `num_heads`, and a
    dropout outside [0, 1).
    """

    d_model: int = 128
    num_heads: int = 4
    num_layers: int = 2
    d_ff: int = 256
    dropout: float = 0.1
    norm_first: bool = True

    def __post_init__(self) -> None:
        check_positive(d_model=self.d_model, num_heads=self.num_heads, num_layers=self.num_layers, d_ff=self.d_ff)
        if self.d_model % self.num_heads != 0:
            raise ValueError(f"d_model {self.d_model} does not divide into num_heads {self.num_heads}")
        check_probability(dropout=self.dropout)

    @classmethod
    def tiny(cls) -> Self:
        """The smallest encoder that still has several heads and layers, for tests."""
        return cls(d_model=8, num_heads=2, num_layers=2, d_ff=16)


class EncoderOutput(NamedTuple):
    """hidden: the last states, (B,T,D). attention: the weights of each layer, (B,H,T,T), first layer first."""

    hidden: Tensor
    attention: tuple[Tensor, ...]


class EncoderBlock(nn.Module):
    """Self-attention, then a feed-forward layer, each with a residual: Vaswani et al. 2017, 3.1 and 3.3.

    GELU in place of the paper's ReLU, as in BERT (Devlin et al. 2019) and most encoders since.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.norm_first = config.norm_first
        self.attention = MultiHeadAttention(config.d_model, config.num_heads, dropout=config.dropout)
        self.attention_norm = nn.LayerNorm(config.d_model)
        self.feed_forward = nn.Sequential(
            nn.Linear(config.d_model, config.d_ff),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.d_ff, config.d_model),
        )
        self.feed_forward_norm = nn.LayerNorm(config.d_model)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, hidden: Tensor, mask: Tensor | None = None) -> Attended:
        """Transforms states: (B,T,D), mask over (B,H,T,T) -> context (B,T,D), weights (B,H,T,T)."""
        if self.norm_first:
            attended, weights = self.attention(self.attention_norm(hidden), mask=mask)
            hidden = hidden + self.dropout(attended)
            hidden = hidden + self.dropout(self.feed_forward(self.feed_forward_norm(hidden)))
        else:
            attended, weights = self.attention(hidden, mask=mask)
            hidden = self.attention_norm(hidden + self.dropout(attended))
            hidden = self.feed_forward_norm(hidden + self.dropout(self.feed_forward(hidden)))
        return Attended(hidden, weights)


class Encoder(nn.Module):
    """A stack of encoder blocks; with pre-norm a last norm closes it, because no block normalises its own sum."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.blocks = nn.ModuleList(EncoderBlock(config) for _ in range(config.num_layers))
        self.last_norm = nn.LayerNorm(config.d_model) if config.norm_first else nn.Identity()

    def forward(self, hidden: Tensor, mask: Tensor | None = None) -> EncoderOutput:
        """Transforms embedded tokens: (B,T,D), mask (B,T) True where a token is real -> states and weights.

        A position that is not real is attended to by nobody; its own state means nothing.
        """
        attention_mask = None if mask is None else padding_mask(mask)
        attention: list[Tensor] = []
        for block in self.blocks:
            hidden, weights = block(hidden, attention_mask)
            attention.append(weights)
        return EncoderOutput(self.last_norm(hidden), tuple(attention))
