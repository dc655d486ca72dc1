"""Every mechanism by name: what it computes, who described it, what it costs, and how to build a small one.

The table in the README, the pages in docs/mechanisms, the parity tests and the benchmark all walk this list, so that a
mechanism is either in all of them or in none.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from models.attention.additive import AdditiveAttention
from models.attention.bilinear import BilinearAttention
from models.attention.dot import DotAttention
from models.attention.multi_head import MultiHeadAttention
from models.attention.pooling import AttentionPooling
from models.attention.scaled_dot_product import ScaledDotProductAttention
from models.attention.spatial import SpatialSelfAttention

Family = Literal["scores", "heads", "positions", "long inputs", "recurrent", "blocks", "queries", "images"]

WIDTH = 8
"""How wide the small mechanisms of the catalogue are: `D`, and `K` where there are no heads."""
HEADS = 2


@dataclass(frozen=True)
class Sizes:
    """How large the inputs are: `B` rows, `T` queries, `S` keys."""

    B: int
    T: int
    S: int


@dataclass(frozen=True, kw_only=True)
class Catalogued:
    """One mechanism.

    name: as it stands in commands, and the name of its page in docs/mechanisms.
    formula: its defining line, in plain characters.
    source: who described it, and where.
    cost: what time and memory grow with, in the letters of the dimension key.
    build: a small one, drawn from torch's global generator. Its `forward` returns `Attended`, or a named tuple that
        begins with the same two fields.
    inputs: the arguments of `forward` by name, at the sizes given.
    dynamic: for each input, which of its axes is which letter of `Sizes`; the others are fixed.
    """

    name: str
    title: str
    family: Family
    formula: str
    source: str
    cost: str
    build: Callable[[], nn.Module]
    inputs: Callable[[torch.Generator, Sizes], dict[str, Tensor]]
    dynamic: Mapping[str, Mapping[int, str]]


def normal(generator: torch.Generator, *shape: int) -> Tensor:
    """Standard normal numbers, as activations after a norm are."""
    return torch.randn(*shape, generator=generator)


def some_keys(generator: torch.Generator, *shape: int) -> Tensor:
    """A mask, bool, that leaves about two keys in three; True may attend. The first key is always left."""
    mask = torch.rand(*shape, generator=generator) < 2 / 3
    mask[..., 0] = True
    return mask


def pairs(generator: torch.Generator, sizes: Sizes) -> dict[str, Tensor]:
    """What a mechanism over pairs of queries and keys takes: query, key, value, mask over (B,T,S)."""
    return {
        "query": normal(generator, sizes.B, sizes.T, WIDTH),
        "key": normal(generator, sizes.B, sizes.S, WIDTH),
        "value": normal(generator, sizes.B, sizes.S, WIDTH),
        "mask": some_keys(generator, sizes.B, sizes.T, sizes.S),
    }


PAIR_AXES: Mapping[str, Mapping[int, str]] = {
    "query": {0: "B", 1: "T"},
    "key": {0: "B", 1: "S"},
    "value": {0: "B", 1: "S"},
    "mask": {0: "B", 1: "T", 2: "S"},
}


def head_pairs(generator: torch.Generator, sizes: Sizes) -> dict[str, Tensor]:
    """As `pairs`, with a mask that all heads share: (B,1,T,S)."""
    inputs = pairs(generator, sizes)
    return {**inputs, "mask": inputs["mask"].unsqueeze(1)}


HEAD_PAIR_AXES: Mapping[str, Mapping[int, str]] = {**PAIR_AXES, "mask": {0: "B", 2: "T", 3: "S"}}


def _sequence(generator: torch.Generator, sizes: Sizes) -> dict[str, Tensor]:
    return {
        "source": normal(generator, sizes.B, sizes.S, WIDTH),
        "mask": some_keys(generator, sizes.B, sizes.S),
    }


def _feature_map(generator: torch.Generator, sizes: Sizes) -> dict[str, Tensor]:
    return {"features": normal(generator, sizes.B, WIDTH, sizes.T, sizes.S)}


MECHANISMS: tuple[Catalogued, ...] = (
    Catalogued(
        name="additive",
        title="Additive attention",
        family="scores",
        formula="score(q, k) = v · tanh(W q + U k)",
        source="Bahdanau et al. 2015",
        cost="time and memory T·S·d_hidden",
        build=lambda: AdditiveAttention(WIDTH, WIDTH, WIDTH),
        inputs=pairs,
        dynamic=PAIR_AXES,
    ),
    Catalogued(
        name="dot",
        title="Dot-product attention",
        family="scores",
        formula="score(q, k) = q · k",
        source="Luong et al. 2015, 3.1",
        cost="time T·S·K, memory T·S",
        build=DotAttention,
        inputs=pairs,
        dynamic=PAIR_AXES,
    ),
    Catalogued(
        name="bilinear",
        title="Bilinear (general) attention",
        family="scores",
        formula="score(q, k) = q · W k",
        source="Luong et al. 2015, 3.1",
        cost="time T·S·K + T·K², memory T·S",
        build=lambda: BilinearAttention(WIDTH, WIDTH),
        inputs=pairs,
        dynamic=PAIR_AXES,
    ),
    Catalogued(
        name="scaled-dot-product",
        title="Scaled dot-product attention",
        family="scores",
        formula="score(q, k) = q · k / √K",
        source="Vaswani et al. 2017, 3.2.1",
        cost="time T·S·K, memory T·S",
        build=ScaledDotProductAttention,
        inputs=pairs,
        dynamic=PAIR_AXES,
    ),
    Catalogued(
        name="multi-head",
        title="Multi-head attention",
        family="heads",
        formula="concat(head_1 … head_H) W_O, head_i = attend(Q W_Qi, K W_Ki, V W_Vi)",
        source="Vaswani et al. 2017, 3.2.2",
        cost="time T·S·D + (T + S)·D², memory H·T·S",
        build=lambda: MultiHeadAttention(WIDTH, HEADS),
        inputs=head_pairs,
        dynamic=HEAD_PAIR_AXES,
    ),
    Catalogued(
        name="pooling",
        title="Attention pooling",
        family="queries",
        formula="weights = softmax_s(u · tanh(W x_s + b)), context = Σ_s weights_s x_s",
        source="Yang et al. 2016, 2.2",
        cost="time S·D², memory S·D",
        build=lambda: AttentionPooling(WIDTH),
        inputs=_sequence,
        dynamic={"source": {0: "B", 1: "S"}, "mask": {0: "B", 1: "S"}},
    ),
    Catalogued(
        name="spatial",
        title="2-D spatial self-attention",
        family="images",
        formula="y = γ · W_o attend(W_f x, W_g x, W_h x) + x, over all cells of the map",
        source="Zhang et al. 2019",
        cost="time (h·w)²·C, memory (h·w)²",
        build=lambda: SpatialSelfAttention(WIDTH),
        inputs=_feature_map,
        dynamic={"features": {0: "B", 2: "T", 3: "S"}},
    ),
)


def mechanism(name: str) -> Catalogued:
    """The mechanism of this name. Raises KeyError with the names that there are."""
    for entry in MECHANISMS:
        if entry.name == name:
            return entry
    raise KeyError(f"no mechanism is called {name!r}; those are {', '.join(entry.name for entry in MECHANISMS)}")
