"""What the catalogue says of a mechanism, and how large a mechanism and its inputs are."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

Family = Literal["scores", "heads", "positions", "long inputs", "recurrent", "blocks", "queries", "images"]


@dataclass(frozen=True)
class Sizes:
    """How large the inputs are: `B` rows, `T` queries, `S` keys."""

    B: int
    T: int
    S: int


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How large a mechanism is built; the defaults are those of the tests.

    d_model: `D`, and `K` where there are no heads.
    num_heads: `H`; mechanisms whose heads share keys have at least four, so that two groups are neither all nor one.
    d_ff: width of the feed-forward layers.
    max_len: how many positions a mechanism with a row a position has rows for.
    block, window: how many positions a block holds, and how many a window reaches to either side.
    vocab_size: how many words copy attention generates from.
    """

    d_model: int = 8
    num_heads: int = 2
    d_ff: int = 16
    max_len: int = 64
    block: int = 4
    window: int = 2
    vocab_size: int = 6


SMALL = Scale()


@dataclass(frozen=True, kw_only=True)
class Catalogued:
    """One mechanism. What is asked of it is below: `build`, `inputs`, `over_keys`.

    name: as it stands in commands, and the name of its page in docs/mechanisms.
    formula: its defining line, in plain characters.
    source: who described it, and where.
    cost: what time and memory grow with, in the letters of the dimension key.
    make, draw, spread: what `build`, `inputs` and `over_keys` call; `spread` is given where the weights are in a layout
        of the mechanism's own, as those for long inputs are.
    dynamic: for each input, which of its axes is which letter of `Sizes`; the others are fixed.
    order_free: reordering the keys, with whatever belongs to them, reorders the weights alike and leaves the context;
        where queries and keys are one sequence, the context is reordered with them.
    causal: a query attends to no key after itself; the last query stands where the last key stands.
    """

    name: str
    title: str
    family: Family
    formula: str
    source: str
    cost: str
    make: Callable[[Scale], nn.Module]
    draw: Callable[[torch.Generator, Sizes, Scale], dict[str, Tensor]]
    dynamic: Mapping[str, Mapping[int, str]]
    spread: Callable[[Any, Scale], Tensor] | None = None
    order_free: bool = False
    causal: bool = False

    def build(self, scale: Scale = SMALL) -> nn.Module:
        """A mechanism of this scale, drawn from torch's global generator.

        Its `forward` returns `Attended`, or a named tuple that begins with the same two fields.
        """
        return self.make(scale)

    def inputs(self, generator: torch.Generator, sizes: Sizes, scale: Scale = SMALL) -> dict[str, Tensor]:
        """The arguments of `forward` by name, at the sizes given, for a mechanism of this scale."""
        return self.draw(generator, sizes, scale)

    def over_keys(self, attended: Any, scale: Scale = SMALL) -> Tensor:
        """The weights over the keys, (...,T,S), from what `forward` returned at this scale."""
        weights: Tensor = attended.weights if self.spread is None else self.spread(attended, scale)
        return weights
