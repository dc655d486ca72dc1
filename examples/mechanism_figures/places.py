"""A reader with one learned query for each place on the strip: each has to find its digit among the columns."""

import torch
from torch import Tensor, nn

from examples.mechanism_figures.reader import PLACES, WIDTH, ColumnTokens, Reader, Reading, naming_head, panels
from models.attention import ObjectQueries


class PlaceReader(Reader):
    """Query n reads the n-th digit of the strip.

    The mechanism compares queries (B,n,D) with columns (B,8·n,D). `ObjectQueries` brings its own queries, and the strip
    has as many digits.
    """

    def __init__(self, mechanism: nn.Module) -> None:
        super().__init__()
        self.tokens = ColumnTokens()
        self.mechanism = mechanism
        if isinstance(mechanism, ObjectQueries):
            self.num_digits, self.queries = len(mechanism.queries), None
        else:
            self.queries = nn.Parameter(torch.randn(PLACES, WIDTH))
        self.head = naming_head()

    def forward(self, images: Tensor, given: Tensor | None = None) -> Reading:
        """Reads all places at once: (B,n,8,8) -> scores (B,n,10); `given` is not read."""
        columns = self.tokens(images)
        if self.queries is None:
            context, weights = self.mechanism(columns)
        else:
            context, weights = self.mechanism(self.queries.expand(len(images), -1, -1), columns, columns)
        return Reading(self.head(context), panels(weights))
