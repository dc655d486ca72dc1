"""What the blocks of encoder and decoder share: their sizes, the feed-forward layer, and where the norm stands."""

from dataclasses import dataclass
from typing import Self

from torch import Tensor, nn

from models.attention.mechanism import check_width
from models.networks.config import check_positive, check_probability


@dataclass(frozen=True, kw_only=True)
class BlockConfig:
    """Size and shape of a stack of blocks.

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
        """The smallest stack that still has several heads and layers, for tests."""
        return cls(d_model=8, num_heads=2, num_layers=2, d_ff=16)


class Block(nn.Module):
    """Sublayers with a residual each; a subclass has them, and for each a norm of its own.

    Pre-norm is hidden + sublayer(norm(hidden)), post-norm is norm(hidden + sublayer(hidden)).
    """

    def __init__(self, config: BlockConfig) -> None:
        super().__init__()
        self.norm_first = config.norm_first

    def _enter(self, norm: nn.LayerNorm, hidden: Tensor) -> Tensor:
        """What a sublayer reads: (B,T,D) -> (B,T,D). Raises ValueError if D is not the block's width."""
        check_width("hidden", hidden, norm.normalized_shape[0])
        normalised: Tensor = norm(hidden) if self.norm_first else hidden
        return normalised

    def _leave(self, norm: nn.LayerNorm, hidden: Tensor, added: Tensor) -> Tensor:
        """The states after a sublayer that adds `added` to `hidden`, already dropped out: (B,T,D) -> (B,T,D)."""
        total: Tensor = hidden + added if self.norm_first else norm(hidden + added)
        return total


def feed_forward(config: BlockConfig) -> nn.Sequential:
    """Two layers that transform each position by itself, (...,D) -> (...,D): Vaswani et al. 2017, 3.3.

    GELU in place of the paper's ReLU, as in BERT (Devlin et al. 2019) and most Transformers since.
    """
    return nn.Sequential(
        nn.Linear(config.d_model, config.d_ff),
        nn.GELU(),
        nn.Dropout(config.dropout),
        nn.Linear(config.d_ff, config.d_model),
    )


def last_norm(config: BlockConfig) -> nn.Module:
    """What closes a stack: with pre-norm a norm, because no block normalises its own sum; otherwise nothing."""
    return nn.LayerNorm(config.d_model) if config.norm_first else nn.Identity()
