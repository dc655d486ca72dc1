"""Inputs that several families take: how they are drawn, and which of their axes is which size."""

from collections.abc import Mapping

import torch
from torch import Tensor

from models.attention.catalogue.entry import Scale, Sizes


def normal(generator: torch.Generator, *shape: int) -> Tensor:
    """Standard normal numbers, as activations after a norm are."""
    return torch.randn(*shape, generator=generator)


def some_keys(generator: torch.Generator, *shape: int) -> Tensor:
    """A mask, bool, that leaves about two keys in three, always the first; True may attend."""
    mask = torch.rand(*shape, generator=generator) < 2 / 3
    mask[..., :1] = True
    return mask


def pairs(generator: torch.Generator, sizes: Sizes, scale: Scale) -> dict[str, Tensor]:
    """What a mechanism over pairs of queries and keys takes: query, key, value, mask over (B,T,S)."""
    return {
        "query": normal(generator, sizes.B, sizes.T, scale.d_model),
        "key": normal(generator, sizes.B, sizes.S, scale.d_model),
        "value": normal(generator, sizes.B, sizes.S, scale.d_model),
        "mask": some_keys(generator, sizes.B, sizes.T, sizes.S),
    }


PAIR_AXES: Mapping[str, Mapping[int, str]] = {
    "query": {0: "B", 1: "T"},
    "key": {0: "B", 1: "S"},
    "value": {0: "B", 1: "S"},
    "mask": {0: "B", 1: "T", 2: "S"},
}


def head_pairs(generator: torch.Generator, sizes: Sizes, scale: Scale) -> dict[str, Tensor]:
    """As `pairs`, with a mask that all heads share: (B,1,T,S)."""
    inputs = pairs(generator, sizes, scale)
    return {**inputs, "mask": inputs["mask"].unsqueeze(1)}


HEAD_PAIR_AXES: Mapping[str, Mapping[int, str]] = {**PAIR_AXES, "mask": {0: "B", 2: "T", 3: "S"}}


def near_pairs(generator: torch.Generator, sizes: Sizes, scale: Scale) -> dict[str, Tensor]:
    """What a mechanism over one long sequence takes: query, key, value of T positions, mask over keys (B,1,T)."""
    return {
        **{name: normal(generator, sizes.B, sizes.T, scale.d_model) for name in ("query", "key", "value")},
        "mask": some_keys(generator, sizes.B, 1, sizes.T),
    }


NEAR_PAIR_AXES: Mapping[str, Mapping[int, str]] = {
    **{name: {0: "B", 1: "T"} for name in ("query", "key", "value")},
    "mask": {0: "B", 2: "T"},
}


def states(generator: torch.Generator, sizes: Sizes, scale: Scale) -> dict[str, Tensor]:
    """What self-attention takes: states, mask over (B,1,T,T) that all heads share."""
    return {
        "states": normal(generator, sizes.B, sizes.T, scale.d_model),
        "mask": some_keys(generator, sizes.B, 1, sizes.T, sizes.T),
    }


STATE_AXES: Mapping[str, Mapping[int, str]] = {"states": {0: "B", 1: "T"}, "mask": {0: "B", 2: "T", 3: "T"}}


def sequence(generator: torch.Generator, sizes: Sizes, scale: Scale) -> dict[str, Tensor]:
    """What a mechanism that sums up one sequence takes: source, mask over (B,S)."""
    return {
        "source": normal(generator, sizes.B, sizes.S, scale.d_model),
        "mask": some_keys(generator, sizes.B, sizes.S),
    }


SEQUENCE_AXES: Mapping[str, Mapping[int, str]] = {"source": {0: "B", 1: "S"}, "mask": {0: "B", 1: "S"}}
