"""Attention over the cells of a feature map."""

import torch
from torch import Tensor

from models.attention.catalogue.entry import Catalogued, Scale, Sizes
from models.attention.catalogue.inputs import normal
from models.attention.spatial import SpatialSelfAttention


def _feature_map(generator: torch.Generator, sizes: Sizes, scale: Scale) -> dict[str, Tensor]:
    return {"features": normal(generator, sizes.B, scale.d_model, sizes.T, sizes.S)}


IMAGES: tuple[Catalogued, ...] = (
    Catalogued(
        name="spatial",
        title="2-D spatial self-attention",
        family="images",
        formula="y = γ · W_o attend(W_f x, W_g x, W_h x) + x, over all cells of the map",
        source="Zhang et al. 2019",
        cost="time (h·w)²·C, memory (h·w)²",
        make=lambda scale: SpatialSelfAttention(scale.d_model),
        draw=_feature_map,
        dynamic={"features": {0: "B", 2: "T", 3: "S"}},
    ),
)
