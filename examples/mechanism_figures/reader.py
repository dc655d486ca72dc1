"""What all readers share: they name or point at digits through one attention mechanism, and show its weights."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from examples.mechanism_figures.scans import CLASSES, SIDE
from models.attention import SinusoidalPositions

WIDTH = 32
"""How wide the readers are, D."""
PLACES = 4
"""Digits on a strip."""

Layout = Literal["strip", "square", "digits", "map"]
"""How the weights are drawn: queries over a strip, columns over columns, over single digits, cells over cells."""


class Reading(NamedTuple):
    """What a reader says of a batch.

    scores: of each answer asked for, over what it may be: (B,A,N).
    weights: what the mechanism weighed, by the name of the panel that shows it, each (B,T,S).
    """

    scores: Tensor
    weights: Mapping[str, Tensor]


class Reader(nn.Module, ABC):
    """A network that needs the mechanism to answer; a subclass says what is asked and how it is drawn."""

    num_digits = PLACES
    """How many digits it reads at once."""
    distinct = False
    """Whether no digit stands twice on a strip."""
    layout: Layout = "strip"
    asks = "digits"
    """What the answers are, in the plural."""
    shown: tuple[int, ...] = ()
    """The queries whose weights are drawn once more, over the digits themselves."""
    query = "query"
    """What a row of the weights is."""
    key = "column of the strip"
    """What a column of the weights is."""

    @abstractmethod
    def forward(self, images: Tensor, given: Tensor | None = None) -> Reading:
        """Reads strips: (B,n,8,8) -> scores and weights.

        `given` are the right answers, (B,A), which a decoder is fed while it trains; without them it is fed its own.
        """

    def expected(self, labels: Tensor) -> Tensor:
        """The right answers: labels (B,n) -> int64 (B,A)."""
        return labels

    def spelled(self, answer: int, labels: Tensor) -> str:
        """An answer in words; `labels` (n,) are those of the strip."""
        return str(answer)

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy of the answers: (B,n,8,8), (B,n) -> ()."""
        expected = self.expected(labels)
        return functional.cross_entropy(self(images, expected).scores.flatten(0, 1), expected.flatten())

    @torch.no_grad()
    def accuracy(self, images: Tensor, labels: Tensor) -> float:
        """The share of answers that are right, read without help."""
        right: Tensor = self(images).scores.argmax(-1) == self.expected(labels)
        return right.float().mean().item()


class ColumnTokens(nn.Module):
    """A strip as a sequence: each column of 8 pixels, read with the one on either side, becomes a vector.

    Positions go in before the last layer, so that equal columns at different places become different vectors; without
    `positioned` only the mechanism can tell them apart.
    """

    def __init__(self, *, positioned: bool = True) -> None:
        super().__init__()
        self.read = nn.Conv1d(SIDE, WIDTH, kernel_size=3, padding=1)
        self.positions = SinusoidalPositions(WIDTH) if positioned else None
        self.project = nn.Linear(WIDTH, WIDTH)

    def forward(self, images: Tensor) -> Tensor:
        """Turns strips to tokens: (B,n,8,8) -> (B,8·n,D)."""
        strip = images.transpose(1, 2).flatten(2)  # (B,n,8,8) -> (B,8,n,8) -> (B,8,8·n)
        tokens: Tensor = self.read(strip).transpose(1, 2)
        if self.positions is not None:
            tokens = tokens + self.positions(torch.arange(tokens.shape[1], device=tokens.device))
        projected: Tensor = self.project(functional.gelu(tokens))
        return projected


class Projected(nn.Module):
    """A mechanism that takes query, key and value as they are, each of them projected first."""

    def __init__(self, mechanism: nn.Module) -> None:
        super().__init__()
        self.mechanism = mechanism
        self.project_query = nn.Linear(WIDTH, WIDTH)
        self.project_key = nn.Linear(WIDTH, WIDTH)
        self.project_value = nn.Linear(WIDTH, WIDTH)

    def forward(self, query: Tensor, key: Tensor | None = None, value: Tensor | None = None) -> Any:
        """Attends: (B,T,D), (B,S,D), (B,S,D) -> what the mechanism returns; without a key among the queries."""
        key = query if key is None else key
        value = key if value is None else value
        return self.mechanism(self.project_query(query), self.project_key(key), self.project_value(value))


def naming_head() -> nn.Sequential:
    """Names a digit from a context: (...,D) -> (...,10)."""
    return nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, CLASSES))


def panels(weights: Tensor, name: str = "weights") -> dict[str, Tensor]:
    """A panel for each head: (B,H,T,S) -> H times (B,T,S); (B,T,S) or a single head is one panel."""
    if weights.dim() == 3:
        return {name: weights}
    heads = weights.unbind(1)
    return {f"{name}, head {number}" if len(heads) > 1 else name: head for number, head in enumerate(heads, 1)}
