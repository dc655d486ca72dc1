"""What is measured: each catalogued mechanism at a realistic scale, and linear attention without its weights."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import isqrt
from typing import Any

import torch
from torch import Tensor, nn

from models.attention import LinearAttention
from models.attention.catalogue import (
    MECHANISMS,
    NEAR_PAIR_AXES,
    Catalogued,
    Family,
    Scale,
    Sizes,
    near_pairs,
)

SCALE = Scale(d_model=64, num_heads=4, d_ff=256, max_len=4096, block=64, window=64, vocab_size=1000)
"""64 wide, so that the width of one query is that of a head in the usual models."""
PADDED = 8
"""One position in this many is padding, at the end."""

CONTEXT_ALONE = ("linear", "causal-linear")
FULL_ATTENTION = "scaled-dot-product"
REFERENCES: Mapping[Family, str] = {"scores": "dot", "long inputs": FULL_ATTENTION}
"""What a mechanism of a family is timed beside; of the other families, multi-head attention."""

Inputs = dict[str, Tensor]


@dataclass(frozen=True)
class Subject:
    """One thing that is measured.

    name: of the mechanism, with ", context alone" where its weights are not computed.
    reference: the name of the subject that it is timed beside, in interleaved pairs. That of `dot` is `dot` itself,
        which shows what the machine's noise makes of two equal things.
    """

    name: str
    family: Family
    reference: str
    entry: Catalogued
    context_alone: bool = False

    def build(self, scale: Scale = SCALE) -> nn.Module:
        """The module, evaluating, the same one each time."""
        torch.manual_seed(0)
        module = self.entry.build(scale)
        return (_ContextAlone(module) if self.context_alone else module).eval()

    def inputs(self, length: int, scale: Scale = SCALE) -> Inputs:
        """One row of `length` queries and as many keys, or of a map with that many cells; its end is padding.

        The mask is over keys alone, as that of a padded batch is, and not over pairs.
        """
        rows = max(rows for rows in range(1, isqrt(length) + 1) if length % rows == 0)
        sizes = Sizes(1, rows, length // rows) if self.family == "images" else Sizes(1, length, length)
        generator = torch.Generator().manual_seed(0)
        draw = near_pairs if self.context_alone else self.entry.draw
        drawn = draw(generator, sizes, scale)
        return {name: _padding(tensor) if tensor.dtype == torch.bool else tensor for name, tensor in drawn.items()}

    @property
    def dynamic(self) -> Mapping[str, Mapping[int, str]]:
        """For each input, which of its axes is which letter of `Sizes`, under a mask over keys alone."""
        axes = NEAR_PAIR_AXES if self.context_alone else self.entry.dynamic
        return {name: _over_keys_alone(of) if "mask" in name else of for name, of in axes.items()}


class _ContextAlone(nn.Module):
    """Linear attention as it runs where nobody asks for the weights."""

    def __init__(self, linear: nn.Module) -> None:
        super().__init__()
        assert isinstance(linear, LinearAttention)
        self.linear = linear

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
        return self.linear.context_only(query, key, value, mask)


def all_subjects() -> tuple[Subject, ...]:
    """Every catalogued mechanism, in the catalogue's order, with those whose weights can be left out twice."""
    subjects = []
    for entry in MECHANISMS:
        one = Subject(entry.name, entry.family, _reference(entry), entry)
        subjects.append(one)
        if entry.name in CONTEXT_ALONE:
            subjects.append(replace(one, name=f"{one.name}, context alone", context_alone=True))
    return tuple(subjects)


def subject(name: str) -> Subject:
    """The subject of this name. Raises KeyError with the names that there are."""
    named = {subject.name: subject for subject in all_subjects()}
    if name not in named:
        raise KeyError(f"nothing to measure is called {name!r}; there are {', '.join(named)}")
    return named[name]


def with_references(one: Subject) -> list[Subject]:
    """A subject after its reference, after that one's reference, and so on."""
    chain = [one]
    while chain[0].reference != chain[0].name:
        chain.insert(0, subject(chain[0].reference))
    return chain


def answers(output: Any) -> dict[str, Tensor]:
    """The tensors of an output by name, without the weights: what a caller uses who asks for no attention."""
    if isinstance(output, Tensor):
        return {"context": output}
    fields: dict[str, Tensor] = output._asdict()
    return {name: tensor for name, tensor in fields.items() if "weights" not in name}


def _reference(entry: Catalogued) -> str:
    return FULL_ATTENTION if entry.name == "multi-head" else REFERENCES.get(entry.family, "multi-head")


def _padding(mask: Tensor) -> Tensor:
    """A mask over keys alone in place of one over pairs: (B,...,T,S) -> (B,...,1,S)."""
    length = mask.shape[-1]
    present = torch.arange(length) < length - length // PADDED
    return present.expand(mask.shape[0], *(1 for _ in mask.shape[1:-1]), length).contiguous()


def _over_keys_alone(axes: Mapping[int, str]) -> dict[int, str]:
    return {axis: letter for axis, letter in axes.items() if axis in (0, max(axes))}
