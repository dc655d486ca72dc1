"""An image classifier: convolutions, self-attention over the cells of their feature map, a linear head."""

from dataclasses import dataclass
from math import prod
from typing import Self

from torch import Tensor, nn

from models.attention import SpatialSelfAttention
from models.networks.config import check_positive, check_probability
from models.networks.output import ClassifierOutput


@dataclass(frozen=True, kw_only=True)
class ImageClassifierConfig:
    """Size and shape of an image classifier.

    image_size: height and width of the square images, in pixels.
    channels: 1 for grey images, 3 for colour.
    widths: output channels of the convolutions before the attention.
    strides: their strides, one for each; they set the grid that the attention sees.
    dropout: on the features that reach the head.

    Raises ValueError for sizes that are not positive, no convolution at all, as many strides as not widths, and a
    dropout outside [0, 1).
    """

    num_classes: int
    image_size: int = 8
    channels: int = 1
    widths: tuple[int, ...] = (32, 64)
    strides: tuple[int, ...] = (1, 1)
    dropout: float = 0.1

    def __post_init__(self) -> None:
        # Lists are what these fields come back as from JSON.
        object.__setattr__(self, "widths", tuple(self.widths))
        object.__setattr__(self, "strides", tuple(self.strides))
        check_positive(num_classes=self.num_classes, image_size=self.image_size, channels=self.channels)
        if not self.widths or len(self.widths) != len(self.strides):
            raise ValueError(f"widths {self.widths} and strides {self.strides} must be as many, and at least one")
        for width, stride in zip(self.widths, self.strides, strict=True):
            check_positive(widths=width, strides=stride)
        check_probability(dropout=self.dropout)

    @property
    def attention_grid(self) -> tuple[int, int]:
        """Rows and columns of the cells that attend to one another; a map row has their product of weights."""
        # A 3x3 convolution with padding 1 and stride s leaves ceil(n / s); ceilings of quotients compose.
        side = -(-self.image_size // prod(self.strides))
        return side, side

    @classmethod
    def tiny(cls) -> Self:
        """A small classifier with a stride, for tests: 8x8 grey images, a grid of 4x4, three classes."""
        return cls(num_classes=3, widths=(4, 8), strides=(1, 2))


def convolution(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
    """A 3x3 convolution, normalised and rectified: (B,in,h,w) -> (B,out,ceil(h/stride),ceil(w/stride))."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size=3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
    )


class ImageClassifier(nn.Module):
    """Convolutions find local strokes, attention relates the cells (Zhang et al. 2019), one more convolution with
    stride 2 reads the result before the mean over the map.
    """

    def __init__(self, config: ImageClassifierConfig) -> None:
        super().__init__()
        self.config = config
        steps = zip((config.channels, *config.widths), config.widths, config.strides, strict=False)
        self.features = nn.Sequential(*(convolution(before, after, stride) for before, after, stride in steps))
        width = config.widths[-1]
        self.attention = SpatialSelfAttention(width)
        self.readout = convolution(width, width, stride=2)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(width, config.num_classes)

    def forward(self, pixels: Tensor) -> ClassifierOutput:
        """Classifies images: float32 (B,C,image_size,image_size) -> logits (B,N), one map (B,1,h*w,h*w).

        h and w are `config.attention_grid`; cells are counted row by row.
        Raises ValueError if the images do not have the config's channels and size.
        """
        expected = (self.config.channels, self.config.image_size, self.config.image_size)
        if tuple(pixels.shape[1:]) != expected:
            raise ValueError(f"pixels of shape {tuple(pixels.shape)} are not (B,{','.join(map(str, expected))})")
        related, weights = self.attention(self.features(pixels))
        pooled = self.readout(related).mean(dim=(2, 3))  # (B,C,h/2,w/2) -> (B,C)
        return ClassifierOutput(self.head(self.dropout(pooled)), (weights,))
