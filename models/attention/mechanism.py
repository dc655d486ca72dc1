"""What every mechanism that compares queries with keys shares: score, normalise, mix."""

from abc import ABC, abstractmethod
from typing import NamedTuple, Protocol

from torch import Tensor, nn

from models.attention.masks import masked_softmax
from models.attention.shapes import check_lengths


class Attended(NamedTuple):
    """What a mechanism returns.

    context: the values, mixed by the weights.
    weights: how much each query took from each key: (...,T,S), before dropout, each row summing to one or to zero.
    """

    context: Tensor
    weights: Tensor


class Attends(Protocol):
    """A module that mixes values for queries: a `Mechanism`, or one for long inputs, which compares no T*S pairs.

    The latter lays its weights out in its own way, and takes a mask over keys alone.
    """

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Attended:
        """Mixes values: (...,T,K), (...,S,K), (...,S,Kv) -> context (...,T,Kv), and weights."""

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Attended:
        """As `forward`, with the module's hooks."""


class Mechanism(nn.Module, ABC):
    """Attention of queries over keys; a subclass defines the score, and nothing else.

    `dropout` in [0, 1] drops weights while training (Vaswani et al. 2017, 5.4 by its reference code), after they are
    normalised and only where they mix the values: the weights returned stay whole.
    """

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)

    @abstractmethod
    def score(self, query: Tensor, key: Tensor) -> Tensor:
        """Compares each query with each key: (...,T,Kq), (...,S,Kk) -> scores (...,T,S)."""

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Attended:
        """Mixes values by score: (...,T,Kq), (...,S,Kk), (...,S,Kv) -> context (...,T,Kv), weights (...,T,S).

        `mask` is bool, broadcasts to (...,T,S), True may attend; a query with no key, because all are masked or
        S = 0, gets zeros. A value must be finite even where it is masked, because zero times infinity is NaN.
        Raises ValueError if key and value differ in S, if the widths do not suit the score, or the mask does not fit.
        """
        check_lengths(key, value)
        return self.mix(masked_softmax(self.score(query, key), mask), value)

    def mix(self, weights: Tensor, value: Tensor) -> Attended:
        """Mixes values by weights that are normalised already: (...,T,S), (...,S,Kv) -> context (...,T,Kv)."""
        context: Tensor = self.dropout(weights) @ value
        return Attended(context, weights)


def check_width(name: str, tensor: Tensor, width: int) -> None:
    """Raises ValueError unless the last axis of `tensor`, called `name` in the message, is `width` wide."""
    if tensor.shape[-1] != width:
        raise ValueError(f"{name} is {tensor.shape[-1]} wide, expected {width}")
