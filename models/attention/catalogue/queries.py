"""Mechanisms that stand out by their queries, or by what their weights are for."""

from collections.abc import Mapping

import torch
from torch import Tensor

from models.attention.additive import AdditiveAttention
from models.attention.catalogue.entry import Catalogued, Scale, Sizes
from models.attention.catalogue.inputs import PAIR_AXES, SEQUENCE_AXES, normal, pairs, sequence, some_keys
from models.attention.copying import CopyAttention
from models.attention.object_queries import ObjectQueries
from models.attention.pointer import PointerAttention
from models.attention.pooling import AttentionPooling

NUM_EXTRA = 3
"""How many words a source may bring that copy attention does not generate."""


def _learned_queries(generator: torch.Generator, sizes: Sizes, scale: Scale) -> dict[str, Tensor]:
    return {
        "source": normal(generator, sizes.B, sizes.S, scale.d_model),
        "mask": some_keys(generator, sizes.B, 1, 1, sizes.S),
    }


def _pointed(generator: torch.Generator, sizes: Sizes, scale: Scale) -> dict[str, Tensor]:
    inputs = pairs(generator, sizes, scale)
    return {name: inputs[name] for name in ("query", "key", "mask")}


POINTED_AXES: Mapping[str, Mapping[int, str]] = {name: PAIR_AXES[name] for name in ("query", "key", "mask")}


def _copied(generator: torch.Generator, sizes: Sizes, scale: Scale) -> dict[str, Tensor]:
    pointed = _pointed(generator, sizes, scale)
    return {
        "query": pointed["query"],
        "key": pointed["key"],
        "inputs": normal(generator, sizes.B, sizes.T, scale.d_model),
        "logits": normal(generator, sizes.B, sizes.T, scale.vocab_size),
        "source_ids": torch.randint(scale.vocab_size + NUM_EXTRA, (sizes.B, sizes.S), generator=generator),
        "mask": pointed["mask"],
    }


def _additive(scale: Scale) -> AdditiveAttention:
    return AdditiveAttention(scale.d_model, scale.d_model, scale.d_model)


QUERIES: tuple[Catalogued, ...] = (
    Catalogued(
        name="pooling",
        title="Attention pooling",
        family="queries",
        formula="weights = softmax_s(u · tanh(W x_s + b)), context = Σ_s weights_s x_s",
        source="Yang et al. 2016, 2.2",
        cost="time S·D², memory S·D",
        make=lambda scale: AttentionPooling(scale.d_model),
        draw=sequence,
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
        make=lambda scale: ObjectQueries(3, scale.d_model, scale.num_heads),
        draw=_learned_queries,
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
        make=lambda scale: PointerAttention(_additive(scale)),
        draw=_pointed,
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
        make=lambda scale: CopyAttention(
            scale.d_model, scale.d_model, scale.d_model, _additive(scale), num_extra=NUM_EXTRA
        ),
        draw=_copied,
        dynamic={
            **POINTED_AXES,
            "inputs": {0: "B", 1: "T"},
            "logits": {0: "B", 1: "T"},
            "source_ids": {0: "B", 1: "S"},
        },
        order_free=True,
    ),
)
