"""An encoder to one embedding a text, of the shape that sentence encoders have."""

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor, nn

from models.attention.positions import LearnedPositions
from models.networks.config import check_positive
from models.networks.encoder import Encoder, EncoderConfig
from models.networks.layout import Layout, Rows


@dataclass(frozen=True, kw_only=True)
class EmbedderConfig(EncoderConfig):
    """Size and shape of an embedder; the fields of `EncoderConfig` and these.

    max_len: most tokens in a text.
    maps: whether the graph returns the attention weights too.

    Raises ValueError for what `EncoderConfig` refuses, and for sizes that are not positive.
    """

    vocab_size: int = 30522
    max_len: int = 256
    dropout: float = 0.0
    norm_first: bool = False
    maps: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(vocab_size=self.vocab_size, max_len=self.max_len)


class Embedded(NamedTuple):
    """embedding: (B,D). attention: the weights of each layer, (B,H,T,T), first layer first; none without `maps`."""

    embedding: Tensor
    attention: tuple[Tensor, ...]


class Embedder(nn.Module):
    """Embeds token sequences: the mean of the last states (Reimers and Gurevych 2019, 3), post-norm as in BERT."""

    def __init__(self, config: EmbedderConfig) -> None:
        super().__init__()
        self.config = config
        self.token_embedding = nn.Embedding(config.vocab_size, config.d_model)
        self.positions = LearnedPositions(config.d_model, config.max_len)
        self.embedding_norm = nn.LayerNorm(config.d_model)
        self.encoder = Encoder(config)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Embedded:
        """Embeds token ids: int64 (B,T), bool (B,T) True where a token is real -> (B,D)."""
        return self.over(Rows(attention_mask), input_ids)

    @property
    def packable(self) -> bool:
        """Whether `over` takes packed layouts too: not with a window."""
        return self.config.window is None

    def over(self, layout: Layout, input_ids: Tensor) -> Embedded:
        """As `forward`, over tokens that lie as the layout says: int64 (B,T), or packed (P)."""
        tokens = self.embedding_norm(self.token_embedding(input_ids) + self.positions(layout.positions))
        hidden, attention = self.encoder(tokens, layout)
        return Embedded(layout.mean(hidden), attention if self.config.maps else ())
