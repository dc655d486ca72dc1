"""Readers of one digit: its pixels or rows are summed up, or the cells of its feature map attend to one another."""

import torch
from torch import Tensor, nn

from examples.mechanism_figures.reader import WIDTH, Layout, Reader, Reading, naming_head
from examples.mechanism_figures.scans import SIDE
from models.attention import AttentionPooling, RecurrentPooling, SpatialSelfAttention


class PooledReader(Reader):
    """Sums up the 64 pixels, each read with its neighbours, by one learned query."""

    num_digits = 1
    layout: Layout = "digits"
    key = "pixel"

    def __init__(self, pooling: AttentionPooling) -> None:
        super().__init__()
        self.read = nn.Conv2d(1, WIDTH, kernel_size=3, padding=1)
        self.places = nn.Parameter(0.1 * torch.randn(SIDE * SIDE, WIDTH))
        self.project = nn.Sequential(nn.GELU(), nn.Linear(WIDTH, WIDTH))
        self.pooling = pooling
        self.head = naming_head()

    def forward(self, images: Tensor, given: Tensor | None = None) -> Reading:
        """Names single digits: (B,1,8,8) -> scores (B,1,10); `given` is not read."""
        pixels = self.read(images).flatten(2).transpose(1, 2)  # (B,D,8,8) -> (B,64,D)
        context, weights = self.pooling(self.project(pixels + self.places))
        return Reading(self.head(context).unsqueeze(1), {"weights": weights.unflatten(1, (SIDE, SIDE))})


class RowReader(Reader):
    """Reads the eight rows from top to bottom, and sums up the states."""

    num_digits = 1
    layout: Layout = "digits"
    key = "row"

    def __init__(self, pooling: RecurrentPooling) -> None:
        super().__init__()
        self.read = nn.Linear(SIDE, WIDTH)
        self.pooling = pooling
        self.head = naming_head()

    def forward(self, images: Tensor, given: Tensor | None = None) -> Reading:
        """Names single digits: (B,1,8,8) -> scores (B,1,10); `given` is not read."""
        pooled = self.pooling(self.read(images.squeeze(1)))
        return Reading(self.head(pooled.outputs).unsqueeze(1), {"weights": pooled.weights.unsqueeze(-1)})


class MapReader(Reader):
    """Lets the cells of a feature map attend to one another, and names the digit from the mean over the cells."""

    num_digits = 1
    layout: Layout = "map"
    shown = (19, 36, 0)
    query = "query: cell"
    key = "cell, row by row"

    def __init__(self, spatial: SpatialSelfAttention) -> None:
        super().__init__()
        self.read = nn.Sequential(
            nn.Conv2d(1, WIDTH, kernel_size=3, padding=1), nn.GELU(), nn.Conv2d(WIDTH, WIDTH, kernel_size=3, padding=1)
        )
        self.spatial = spatial
        self.compare = nn.Sequential(nn.GELU(), nn.Conv2d(WIDTH, WIDTH, kernel_size=1), nn.GELU())
        self.head = naming_head()

    def forward(self, images: Tensor, given: Tensor | None = None) -> Reading:
        """Names single digits: (B,1,8,8) -> scores (B,1,10); `given` is not read."""
        context, weights = self.spatial(self.read(images))
        return Reading(self.head(self.compare(context).mean((2, 3))).unsqueeze(1), {"weights": weights.squeeze(1)})
