"""Mechanisms that differ in how a query is compared with a key."""

import torch
from torch import Tensor

from models.attention.additive import AdditiveAttention
from models.attention.bilinear import BilinearAttention
from models.attention.catalogue.entry import Catalogued, Scale, Sizes
from models.attention.catalogue.inputs import PAIR_AXES, normal, pairs
from models.attention.concat import ConcatAttention
from models.attention.dot import DotAttention
from models.attention.location import LocationAttention
from models.attention.location_aware import LocationAwareAttention
from models.attention.scaled_dot_product import ScaledDotProductAttention


def _pairs_and_previous(generator: torch.Generator, sizes: Sizes, scale: Scale) -> dict[str, Tensor]:
    """As `pairs`, with the weights of the step before: positive, each row summing to one."""
    inputs = pairs(generator, sizes, scale)
    previous = torch.softmax(normal(generator, sizes.B, sizes.T, sizes.S), dim=-1)
    return {**{name: inputs[name] for name in ("query", "key", "value")}, "previous": previous, "mask": inputs["mask"]}


SCORES: tuple[Catalogued, ...] = (
    Catalogued(
        name="additive",
        title="Additive attention",
        family="scores",
        formula="score(q, k) = v · tanh(W q + U k)",
        source="Bahdanau et al. 2015",
        cost="time and memory T·S·d_hidden",
        make=lambda scale: AdditiveAttention(scale.d_model, scale.d_model, scale.d_model),
        draw=pairs,
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
        make=lambda scale: DotAttention(),
        draw=pairs,
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
        make=lambda scale: BilinearAttention(scale.d_model, scale.d_model),
        draw=pairs,
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
        make=lambda scale: ScaledDotProductAttention(),
        draw=pairs,
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
        make=lambda scale: ConcatAttention(scale.d_model, scale.d_model, scale.d_model),
        draw=pairs,
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
        make=lambda scale: LocationAttention(scale.d_model, scale.max_len),
        draw=pairs,
        dynamic=PAIR_AXES,
    ),
    Catalogued(
        name="location-aware",
        title="Location-aware attention",
        family="scores",
        formula="score = v · tanh(W q + U k_s + L f_s + b), f = F * previous weights",
        source="Chorowski et al. 2015, equations 8 and 9",
        cost="time and memory T·S·d_hidden",
        make=lambda scale: LocationAwareAttention(
            scale.d_model, scale.d_model, scale.d_model, num_filters=3, kernel_size=5
        ),
        draw=_pairs_and_previous,
        dynamic={**PAIR_AXES, "previous": {0: "B", 1: "T", 2: "S"}},
    ),
)
