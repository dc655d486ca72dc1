"""Every mechanism by name: what it computes, who described it, what it costs, and how to build a small one.

The table in the README, the pages in docs/mechanisms, the parity tests and the benchmark all walk this list, so that a
mechanism is either in all of them or in none.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Literal

import torch
from torch import Tensor, nn

from models.attention.additive import AdditiveAttention
from models.attention.alibi import AlibiAttention
from models.attention.band import spread_band
from models.attention.bilinear import BilinearAttention
from models.attention.block import BlockAttention, spread_blocks
from models.attention.block_sparse import BlockSparseAttention, spread_block_sparse
from models.attention.concat import ConcatAttention
from models.attention.copying import CopyAttention
from models.attention.dot import DotAttention
from models.attention.global_window import GlobalWindowAttention, spread_global_window
from models.attention.grouped_query import GroupedQueryAttention
from models.attention.linear import LinearAttention
from models.attention.location import LocationAttention
from models.attention.location_aware import LocationAwareAttention
from models.attention.multi_head import MultiHeadAttention
from models.attention.object_queries import ObjectQueries
from models.attention.per_head_linear import PerHeadLinearAttention
from models.attention.pointer import PointerAttention
from models.attention.pooling import AttentionPooling
from models.attention.positioned import PositionedSelfAttention
from models.attention.positions import LearnedPositions, SinusoidalPositions
from models.attention.recurrent_decoder import RecurrentDecoder
from models.attention.recurrent_pooling import RecurrentPooling
from models.attention.relative import RelativeBiasAttention
from models.attention.rotary import RotaryAttention
from models.attention.scaled_dot_product import ScaledDotProductAttention
from models.attention.sliding_window import SlidingWindowAttention
from models.attention.spatial import SpatialSelfAttention
from models.networks.decoder import DecoderBlock, DecoderConfig
from models.networks.encoder import EncoderBlock, EncoderConfig

Family = Literal["scores", "heads", "positions", "long inputs", "recurrent", "blocks", "queries", "images"]

WIDTH = 8
"""How wide the small mechanisms of the catalogue are: `D`, and `K` where there are no heads."""
HEADS = 2
BLOCK = 4
"""How many positions a block of the small mechanisms for long inputs holds."""
WINDOW = 2
VOCABULARY = 6
NUM_EXTRA = 3
"""How many words copy attention generates from, and how many more a source may bring."""
LONGEST = 64
"""How many positions the small mechanisms with a row a position have rows for."""


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
    over_keys: the weights over the keys, (...,T,S), from what `forward` returned. A mechanism for long inputs returns
        them in a layout of its own, which this lays out.
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
    build: Callable[[], nn.Module]
    inputs: Callable[[torch.Generator, Sizes], dict[str, Tensor]]
    dynamic: Mapping[str, Mapping[int, str]]
    over_keys: Callable[[Any], Tensor] = attrgetter("weights")
    order_free: bool = False
    causal: bool = False


def normal(generator: torch.Generator, *shape: int) -> Tensor:
    """Standard normal numbers, as activations after a norm are."""
    return torch.randn(*shape, generator=generator)


def some_keys(generator: torch.Generator, *shape: int) -> Tensor:
    """A mask, bool, that leaves about two keys in three, always the first; True may attend."""
    mask = torch.rand(*shape, generator=generator) < 2 / 3
    mask[..., :1] = True
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


def near_pairs(generator: torch.Generator, sizes: Sizes) -> dict[str, Tensor]:
    """What a mechanism over one long sequence takes: query, key, value of T positions, mask over keys (B,1,T)."""
    return {
        **{name: normal(generator, sizes.B, sizes.T, WIDTH) for name in ("query", "key", "value")},
        "mask": some_keys(generator, sizes.B, 1, sizes.T),
    }


NEAR_PAIR_AXES: Mapping[str, Mapping[int, str]] = {
    **{name: {0: "B", 1: "T"} for name in ("query", "key", "value")},
    "mask": {0: "B", 2: "T"},
}


def _pairs_and_previous(generator: torch.Generator, sizes: Sizes) -> dict[str, Tensor]:
    """As `pairs`, with the weights of the step before: positive, each row summing to one."""
    inputs = pairs(generator, sizes)
    previous = torch.softmax(normal(generator, sizes.B, sizes.T, sizes.S), dim=-1)
    return {**{name: inputs[name] for name in ("query", "key", "value")}, "previous": previous, "mask": inputs["mask"]}


def _states(generator: torch.Generator, sizes: Sizes) -> dict[str, Tensor]:
    """What self-attention takes: states, mask over (B,1,T,T) that all heads share."""
    return {
        "states": normal(generator, sizes.B, sizes.T, WIDTH),
        "mask": some_keys(generator, sizes.B, 1, sizes.T, sizes.T),
    }


def _sequence(generator: torch.Generator, sizes: Sizes) -> dict[str, Tensor]:
    return {
        "source": normal(generator, sizes.B, sizes.S, WIDTH),
        "mask": some_keys(generator, sizes.B, sizes.S),
    }


SEQUENCE_AXES: Mapping[str, Mapping[int, str]] = {"source": {0: "B", 1: "S"}, "mask": {0: "B", 1: "S"}}


def _learned_queries(generator: torch.Generator, sizes: Sizes) -> dict[str, Tensor]:
    return {
        "source": normal(generator, sizes.B, sizes.S, WIDTH),
        "mask": some_keys(generator, sizes.B, 1, 1, sizes.S),
    }


def _pointed(generator: torch.Generator, sizes: Sizes) -> dict[str, Tensor]:
    inputs = pairs(generator, sizes)
    return {name: inputs[name] for name in ("query", "key", "mask")}


POINTED_AXES: Mapping[str, Mapping[int, str]] = {name: PAIR_AXES[name] for name in ("query", "key", "mask")}


def _copied(generator: torch.Generator, sizes: Sizes) -> dict[str, Tensor]:
    pointed = _pointed(generator, sizes)
    return {
        "query": pointed["query"],
        "key": pointed["key"],
        "inputs": normal(generator, sizes.B, sizes.T, WIDTH),
        "logits": normal(generator, sizes.B, sizes.T, VOCABULARY),
        "source_ids": torch.randint(VOCABULARY + NUM_EXTRA, (sizes.B, sizes.S), generator=generator),
        "mask": pointed["mask"],
    }


def _decoded(generator: torch.Generator, sizes: Sizes) -> dict[str, Tensor]:
    return {
        "inputs": normal(generator, sizes.B, sizes.T, WIDTH),
        "source": normal(generator, sizes.B, sizes.S, WIDTH),
        "mask": some_keys(generator, sizes.B, sizes.T, sizes.S),
    }


DECODED_AXES: Mapping[str, Mapping[int, str]] = {
    "inputs": {0: "B", 1: "T"},
    "source": {0: "B", 1: "S"},
    "mask": {0: "B", 1: "T", 2: "S"},
}


def _one_step(generator: torch.Generator, sizes: Sizes) -> dict[str, Tensor]:
    """As `_decoded` with T = 1, and a state: the LSTM's h and c, and the fused state."""
    return {
        **_decoded(generator, Sizes(sizes.B, 1, sizes.S)),
        "state": normal(generator, sizes.B, 3, WIDTH),
    }


def _block_states(generator: torch.Generator, sizes: Sizes) -> dict[str, Tensor]:
    return {
        "hidden": normal(generator, sizes.B, sizes.T, WIDTH),
        "mask": some_keys(generator, sizes.B, 1, sizes.T, sizes.T),
    }


BLOCK_AXES: Mapping[str, Mapping[int, str]] = {"hidden": {0: "B", 1: "T"}, "mask": {0: "B", 2: "T", 3: "T"}}


def _block_states_and_source(generator: torch.Generator, sizes: Sizes) -> dict[str, Tensor]:
    states = _block_states(generator, sizes)
    return {
        "hidden": states["hidden"],
        "source": normal(generator, sizes.B, sizes.S, WIDTH),
        "mask": states["mask"],
        "source_mask": some_keys(generator, sizes.B, 1, sizes.T, sizes.S),
    }


BLOCK_AND_SOURCE_AXES: Mapping[str, Mapping[int, str]] = {
    **BLOCK_AXES,
    "source": {0: "B", 1: "S"},
    "source_mask": {0: "B", 2: "T", 3: "S"},
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
        order_free=True,
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
        order_free=True,
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
        order_free=True,
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
        order_free=True,
    ),
    Catalogued(
        name="concat",
        title="Concat attention",
        family="scores",
        formula="score(q, k) = v · tanh(W [q; k])",
        source="Luong et al. 2015, 3.1",
        cost="time and memory T·S·d_hidden",
        build=lambda: ConcatAttention(WIDTH, WIDTH, WIDTH),
        inputs=pairs,
        dynamic=PAIR_AXES,
        order_free=True,
    ),
    Catalogued(
        name="location",
        title="Location attention",
        family="scores",
        formula="score(q, s) = (W q)_s",
        source="Luong et al. 2015, 3.1",
        cost="time T·S·K, memory T·S",
        build=lambda: LocationAttention(WIDTH, LONGEST),
        inputs=pairs,
        dynamic=PAIR_AXES,
    ),
    Catalogued(
        name="location-aware",
        title="Location-aware attention",
        family="scores",
        formula="score = v · tanh(W q + U k_s + L f_s + b), f = F * previous weights",
        source="Chorowski et al. 2015, equations 8 and 9",
        cost="time and memory T·S·d_hidden",
        build=lambda: LocationAwareAttention(WIDTH, WIDTH, WIDTH, num_filters=3, kernel_size=5),
        inputs=_pairs_and_previous,
        dynamic={**PAIR_AXES, "previous": {0: "B", 1: "T", 2: "S"}},
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
        order_free=True,
    ),
    Catalogued(
        name="per-head-linear",
        title="Per-head linear self-attention",
        family="heads",
        formula="concat(head_1 … head_H), head_i = attend(x_i W_Qi, x_i W_Ki, x_i W_Vi), x_i the i-th slice of x",
        source="Vaswani et al. 2017, 3.2.2, in the form in which it is taught",
        cost="time T²·D + T·D·K, memory H·T²",
        build=lambda: PerHeadLinearAttention(WIDTH, HEADS),
        inputs=_states,
        dynamic={"states": {0: "B", 1: "T"}, "mask": {0: "B", 2: "T", 3: "T"}},
        order_free=True,
    ),
    Catalogued(
        name="block",
        title="Block attention",
        family="long inputs",
        formula="context_t = (1 - g_t) attend(q_t, own block) + g_t attend(q_t, block summaries)",
        source="Shen et al. 2018, 3; scores of Vaswani et al. 2017",
        cost="time T·(L + T/L)·K, memory T·(L + T/L), L the block",
        build=lambda: BlockAttention(WIDTH, BLOCK),
        inputs=near_pairs,
        dynamic=NEAR_PAIR_AXES,
        over_keys=spread_blocks,
    ),
    Catalogued(
        name="sliding-window",
        title="Sliding-window attention",
        family="long inputs",
        formula="score(q_t, k_s) = q_t · k_s / √K where |t - s| ≤ w",
        source="Beltagy et al. 2020, 3.1",
        cost="time T·w·K, memory T·w",
        build=lambda: SlidingWindowAttention(WINDOW),
        inputs=near_pairs,
        dynamic=NEAR_PAIR_AXES,
        over_keys=lambda attended: spread_band(attended.weights),
    ),
    Catalogued(
        name="global-window",
        title="Sliding window with global positions",
        family="long inputs",
        formula="score(q_t, k_s) = q_t · k_s / √K where |t - s| ≤ w, t < G or s < G",
        source="Beltagy et al. 2020, 3.1",
        cost="time T·(w + G)·K, memory T·(w + G)",
        build=lambda: GlobalWindowAttention(WINDOW, num_global=2),
        inputs=near_pairs,
        dynamic=NEAR_PAIR_AXES,
        over_keys=spread_global_window,
    ),
    Catalogued(
        name="block-sparse",
        title="Block-sparse attention",
        family="long inputs",
        formula="score(q_t, k_s) = q_t · k_s / √K where ⌊t/L⌋ = ⌊s/L⌋ or s mod L ≥ L - c",
        source="Child et al. 2019, 4.3",
        cost="time T·(L + c·T/L)·K, memory T·(L + c·T/L), L the block",
        build=lambda: BlockSparseAttention(BLOCK),
        inputs=near_pairs,
        dynamic=NEAR_PAIR_AXES,
        over_keys=lambda attended: spread_block_sparse(attended.weights, BLOCK, 1),
    ),
    Catalogued(
        name="causal-block-sparse",
        title="Causal block-sparse attention",
        family="long inputs",
        formula="as block-sparse, where also s ≤ t",
        source="Child et al. 2019, 4.3",
        cost="time T·(L + c·T/L)·K, memory T·(L + c·T/L), L the block",
        build=lambda: BlockSparseAttention(BLOCK, 2, causal=True),
        inputs=near_pairs,
        dynamic=NEAR_PAIR_AXES,
        over_keys=lambda attended: spread_block_sparse(attended.weights, BLOCK, 2),
        causal=True,
    ),
    Catalogued(
        name="linear",
        title="Linear attention",
        family="long inputs",
        formula="weights = φ(q) · φ(k_s) / Σ_s φ(q) · φ(k_s), φ(x) = elu(x) + 1",
        source="Katharopoulos et al. 2020, 3.2",
        cost="context alone: time (T + S)·K², memory K²; with weights: time T·S·K, memory T·S",
        build=LinearAttention,
        inputs=pairs,
        dynamic=PAIR_AXES,
        order_free=True,
    ),
    Catalogued(
        name="causal-linear",
        title="Causal linear attention",
        family="long inputs",
        formula="as linear, over s ≤ t",
        source="Katharopoulos et al. 2020, 3.3",
        cost="context alone: time and memory S·K²; with weights: time T·S·K, memory T·S",
        build=lambda: LinearAttention(causal=True),
        inputs=pairs,
        dynamic=PAIR_AXES,
        causal=True,
    ),
    Catalogued(
        name="multi-query",
        title="Multi-query attention",
        family="heads",
        formula="concat(head_1 … head_H) W_O, head_i = attend(Q W_Qi, K W_K, V W_V)",
        source="Shazeer 2019, 3",
        cost="time T·S·D + (T + S)·D², memory H·T·S; of each position K numbers are kept",
        build=lambda: GroupedQueryAttention(WIDTH, 2 * HEADS, 1),
        inputs=head_pairs,
        dynamic=HEAD_PAIR_AXES,
        order_free=True,
    ),
    Catalogued(
        name="grouped-query",
        title="Grouped-query attention",
        family="heads",
        formula="as multi-query, head_i = attend(Q W_Qi, K W_Kg, V W_Vg), g the group of i",
        source="Ainslie et al. 2023, 2.2",
        cost="time T·S·D + (T + S)·D², memory H·T·S; of each position G·K numbers are kept",
        build=lambda: GroupedQueryAttention(WIDTH, 2 * HEADS, HEADS),
        inputs=head_pairs,
        dynamic=HEAD_PAIR_AXES,
        order_free=True,
    ),
    Catalogued(
        name="sinusoidal-positions",
        title="Self-attention with sinusoidal positions",
        family="positions",
        formula="x_p + (sin, cos)(p / 10000^(2i/D)), then multi-head self-attention",
        source="Vaswani et al. 2017, 3.5",
        cost="time T²·D + T·D², memory H·T²",
        build=lambda: PositionedSelfAttention(SinusoidalPositions(WIDTH), MultiHeadAttention(WIDTH, HEADS)),
        inputs=_states,
        dynamic={"states": {0: "B", 1: "T"}, "mask": {0: "B", 2: "T", 3: "T"}},
    ),
    Catalogued(
        name="learned-positions",
        title="Self-attention with learned positions",
        family="positions",
        formula="x_p + e_p, then multi-head self-attention",
        source="Gehring et al. 2017, 3.1",
        cost="time T²·D + T·D², memory H·T² + max_len·D",
        build=lambda: PositionedSelfAttention(LearnedPositions(WIDTH, LONGEST), MultiHeadAttention(WIDTH, HEADS)),
        inputs=_states,
        dynamic={"states": {0: "B", 1: "T"}, "mask": {0: "B", 2: "T", 3: "T"}},
    ),
    Catalogued(
        name="rotary",
        title="Rotary positions",
        family="positions",
        formula="score(q_t, k_s) = R_t q · R_s k / √K, R_p turns column pair i by p / 10000^(2i/K)",
        source="Su et al. 2021, 3.2.2",
        cost="as multi-head, and time (T + S)·D for turning",
        build=lambda: MultiHeadAttention(WIDTH, HEADS, mechanism=RotaryAttention()),
        inputs=head_pairs,
        dynamic=HEAD_PAIR_AXES,
    ),
    Catalogued(
        name="relative-bias",
        title="Relative position bias (T5)",
        family="positions",
        formula="score(q_t, k_s) = q · k / √K + b[head, bucket(s - t)], buckets logarithmic",
        source="Raffel et al. 2020, 2.1",
        cost="as multi-head, and memory H·T·S for the bias",
        build=lambda: MultiHeadAttention(WIDTH, HEADS, mechanism=RelativeBiasAttention(HEADS)),
        inputs=head_pairs,
        dynamic=HEAD_PAIR_AXES,
    ),
    Catalogued(
        name="alibi",
        title="Attention with linear biases (ALiBi)",
        family="positions",
        formula="score(q_t, k_s) = q · k / √K - m_head · |t - s|, m = 2^(-8/H) … 2^-8",
        source="Press et al. 2022, 3",
        cost="as multi-head, and memory H·T·S for the bias",
        build=lambda: MultiHeadAttention(WIDTH, HEADS, mechanism=AlibiAttention(HEADS)),
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
        dynamic=SEQUENCE_AXES,
        order_free=True,
    ),
    Catalogued(
        name="object-queries",
        title="Learned object queries",
        family="queries",
        formula="context_n = attend(e_n, source), e_1 … e_N learned, multi-head",
        source="Carion et al. 2020, 3.2",
        cost="time N·S·D + (N + S)·D², memory H·N·S",
        build=lambda: ObjectQueries(3, WIDTH, HEADS),
        inputs=_learned_queries,
        dynamic={"source": {0: "B", 1: "S"}, "mask": {0: "B", 3: "S"}},
        order_free=True,
    ),
    Catalogued(
        name="pointer",
        title="Pointer attention",
        family="queries",
        formula="p(s | t) = softmax_s(v · tanh(W_1 e_s + W_2 d_t)): the weights are the answer",
        source="Vinyals et al. 2015, 2.3",
        cost="time and memory T·S·d_hidden",
        build=lambda: PointerAttention(AdditiveAttention(WIDTH, WIDTH, WIDTH)),
        inputs=_pointed,
        dynamic=POINTED_AXES,
        order_free=True,
    ),
    Catalogued(
        name="copy",
        title="Copy attention (pointer-generator)",
        family="queries",
        formula="P(w) = p_gen · P_vocab(w) + (1 - p_gen) · Σ_(s: w_s = w) weights_s",
        source="See et al. 2017, 2.2",
        cost="time and memory T·S·d_hidden + T·(V + X)",
        build=lambda: CopyAttention(WIDTH, WIDTH, WIDTH, AdditiveAttention(WIDTH, WIDTH, WIDTH), num_extra=NUM_EXTRA),
        inputs=_copied,
        dynamic={
            **POINTED_AXES,
            "inputs": {0: "B", 1: "T"},
            "logits": {0: "B", 1: "T"},
            "source_ids": {0: "B", 1: "S"},
        },
        order_free=True,
    ),
    Catalogued(
        name="recurrent-pooling-tanh",
        title="Recurrent attention pooling, plain tanh cell",
        family="recurrent",
        formula="h_s = tanh(W_h h_(s-1) + W_x x_s + b), c = attend(h_n, h), h* = tanh(W_c [c; h_n]), y = W_y h* + b_y",
        source="Elman 1990; Luong et al. 2015, 3",
        cost="time S·D² step after step, memory S·D",
        build=lambda: RecurrentPooling(WIDTH, WIDTH, WIDTH, DotAttention(), cell="tanh"),
        inputs=_sequence,
        dynamic=SEQUENCE_AXES,
    ),
    Catalogued(
        name="recurrent-pooling-lstm",
        title="Recurrent attention pooling, LSTM cell",
        family="recurrent",
        formula="h_s = LSTM(h_(s-1), x_s), c = attend(h_n, h), h* = g ⊙ h_n + (1 - g) ⊙ W_c c, y = W_y h* + b_y",
        source="Hochreiter and Schmidhuber 1997; Luong et al. 2015, 3.1",
        cost="time S·D² step after step, memory S·D",
        build=lambda: RecurrentPooling(
            WIDTH, WIDTH, WIDTH, BilinearAttention(WIDTH, WIDTH), cell="lstm", combine="sum"
        ),
        inputs=_sequence,
        dynamic=SEQUENCE_AXES,
    ),
    Catalogued(
        name="recurrent-pooling-gru",
        title="Recurrent attention pooling, GRU cell, both directions",
        family="recurrent",
        formula="h_s = GRU(h_(s-1), x_s), c = attend(h_n, h), h* = tanh(W_c [c; h_n]), y = W_y h* + b_y",
        source="Cho et al. 2014; Bahdanau et al. 2015, 3.2",
        cost="time S·D² step after step, memory S·D",
        build=lambda: RecurrentPooling(
            WIDTH, WIDTH, WIDTH, AdditiveAttention(2 * WIDTH, 2 * WIDTH, WIDTH), cell="gru", bidirectional=True
        ),
        inputs=_sequence,
        dynamic=SEQUENCE_AXES,
    ),
    Catalogued(
        name="recurrent-decoder-tanh",
        title="Recurrent decoder with attention, plain tanh cell",
        family="recurrent",
        formula="h_t = tanh(W_h h_(t-1) + W_x x_t + b), h*_t = g ⊙ h_t + (1 - g) ⊙ W_c c_t, y_t = W_y h*_t + b_y",
        source="Elman 1990; Luong et al. 2015, 3.1",
        cost="time T·D² step after step, and T·S·D; memory T·S",
        build=lambda: RecurrentDecoder(
            WIDTH, WIDTH, WIDTH, WIDTH, BilinearAttention(WIDTH, WIDTH), cell="tanh", combine="sum"
        ),
        inputs=_decoded,
        dynamic=DECODED_AXES,
        order_free=True,
    ),
    Catalogued(
        name="recurrent-decoder-lstm",
        title="Recurrent decoder with attention, LSTM cell",
        family="recurrent",
        formula="h_t = LSTM(h_(t-1), x_t), h*_t = tanh(W_c [c_t; h_t]), y_t = W_y h*_t + b_y",
        source="Luong et al. 2015, 3",
        cost="time T·D² step after step, and T·S·D; memory T·S",
        build=lambda: RecurrentDecoder(WIDTH, WIDTH, WIDTH, WIDTH, DotAttention(), cell="lstm"),
        inputs=_decoded,
        dynamic=DECODED_AXES,
        order_free=True,
    ),
    Catalogued(
        name="recurrent-decoder-gru",
        title="Recurrent decoder with attention, GRU cell",
        family="recurrent",
        formula="h_t = GRU(h_(t-1), x_t), h*_t = tanh(W_c [c_t; h_t]), y_t = W_y h*_t + b_y",
        source="Cho et al. 2014; Bahdanau et al. 2015, A.1.2",
        cost="time T·D² step after step, and T·S·d_hidden; memory T·S·d_hidden",
        build=lambda: RecurrentDecoder(WIDTH, WIDTH, WIDTH, WIDTH, AdditiveAttention(WIDTH, WIDTH, WIDTH), cell="gru"),
        inputs=_decoded,
        dynamic=DECODED_AXES,
        order_free=True,
    ),
    Catalogued(
        name="recurrent-decoder-step",
        title="Step of a recurrent decoder with input feeding, LSTM cell",
        family="recurrent",
        formula="h_t = LSTM(h_(t-1), [x_t; h*_(t-1)]), c_t = attend(h_t, source), h*_t = tanh(W_c [c_t; h_t])",
        source="Luong et al. 2015, 3.3",
        cost="time D² + S·D, memory S",
        build=lambda: RecurrentDecoder(WIDTH, WIDTH, WIDTH, WIDTH, DotAttention(), cell="lstm", input_feeding=True),
        inputs=_one_step,
        dynamic={"inputs": {0: "B"}, "source": {0: "B", 1: "S"}, "mask": {0: "B", 2: "S"}, "state": {0: "B"}},
        order_free=True,
    ),
    Catalogued(
        name="encoder-block-post-norm",
        title="Transformer encoder block, post-norm",
        family="blocks",
        formula="norm(x + sublayer(x)), sublayers self-attention and feed-forward",
        source="Vaswani et al. 2017, 3.1",
        cost="time T²·D + T·D·(D + d_ff), memory H·T² + T·d_ff",
        build=lambda: EncoderBlock(
            EncoderConfig(d_model=WIDTH, num_heads=HEADS, d_ff=2 * WIDTH, dropout=0.0, norm_first=False)
        ),
        inputs=_block_states,
        dynamic=BLOCK_AXES,
        order_free=True,
    ),
    Catalogued(
        name="encoder-block-pre-norm",
        title="Transformer encoder block, pre-norm",
        family="blocks",
        formula="x + sublayer(norm(x)), sublayers self-attention and feed-forward",
        source="Xiong et al. 2020",
        cost="time T²·D + T·D·(D + d_ff), memory H·T² + T·d_ff",
        build=lambda: EncoderBlock(
            EncoderConfig(d_model=WIDTH, num_heads=HEADS, d_ff=2 * WIDTH, dropout=0.0, norm_first=True)
        ),
        inputs=_block_states,
        dynamic=BLOCK_AXES,
        order_free=True,
    ),
    Catalogued(
        name="decoder-block-post-norm",
        title="Transformer decoder block, post-norm",
        family="blocks",
        formula="norm(x + sublayer(x)), sublayers causal self-attention, cross-attention and feed-forward",
        source="Vaswani et al. 2017, 3.1",
        cost="time (T² + T·S)·D + T·D·(D + d_ff) + S·D², memory H·(T² + T·S) + T·d_ff",
        build=lambda: DecoderBlock(
            DecoderConfig(d_model=WIDTH, num_heads=HEADS, d_ff=2 * WIDTH, dropout=0.0, norm_first=False)
        ),
        inputs=_block_states_and_source,
        dynamic=BLOCK_AND_SOURCE_AXES,
        causal=True,
    ),
    Catalogued(
        name="decoder-block-pre-norm",
        title="Transformer decoder block, pre-norm",
        family="blocks",
        formula="x + sublayer(norm(x)), sublayers causal self-attention, cross-attention and feed-forward",
        source="Xiong et al. 2020",
        cost="time (T² + T·S)·D + T·D·(D + d_ff) + S·D², memory H·(T² + T·S) + T·d_ff",
        build=lambda: DecoderBlock(
            DecoderConfig(d_model=WIDTH, num_heads=HEADS, d_ff=2 * WIDTH, dropout=0.0, norm_first=True)
        ),
        inputs=_block_states_and_source,
        dynamic=BLOCK_AND_SOURCE_AXES,
        causal=True,
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
