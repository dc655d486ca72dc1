"""What is known of one answer, ready to be drawn: pure data, without torch and without a runtime."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from server.codecs import EncodedRow, Token
from server.manifest import CellAxis

Weights = NDArray[np.float32]
Positions = tuple[Token, ...] | CellAxis
"""What stands along one axis of a map: the tokens of a text, or the cells of an image, row by row."""


@dataclass(frozen=True, slots=True)
class Missing:
    """Stands in for what cannot be shown of this version."""

    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Content:
    """What was explained: a text, the bytes of an image, or neither but tensors; and the row that it makes."""

    text: str | None
    image: bytes | None
    row: EncodedRow


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """The graph's answer: the probability of each label."""

    labels: tuple[str, ...]
    probabilities: NDArray[np.float64]

    def best(self) -> list[int]:
        """Labels by falling probability, equal ones by index."""
        return [int(index) for index in np.argsort(-self.probabilities, kind="stable")]


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """The weights of one layer that are shown, [heads, query, key]; `heads` numbers them."""

    number: int
    heads: tuple[int, ...]
    weights: Weights


@dataclass(frozen=True, slots=True, eq=False)
class Gradient:
    """Weights times their gradient, the positive part, averaged over the heads: see `models.explain.gradients`."""

    layers: tuple[Weights, ...]
    """[query, key], of every layer, first layer first."""
    combined: Weights | None
    """Followed through all layers, [position, position]; None where queries and keys are different things."""


@dataclass(frozen=True, slots=True)
class HeadEffect:
    """What the network answers with one head switched off."""

    layer: int
    head: int
    probability: float
    """Of the explained label, without the head."""
    change: float
    """`probability` less that of the whole network."""
    best: int
    """The most probable label without the head."""


@dataclass(frozen=True, slots=True, eq=False)
class Mechanism:
    """One of the model's attentions."""

    name: str
    kind: str
    """The mechanism's name as the field knows it."""
    query: Positions
    key: Positions
    layers: tuple[Layer, ...]
    rollout: Weights | Missing
    gradient: Gradient | Missing
    ablation: tuple[HeadEffect, ...] | Missing

    def strongest(self) -> HeadEffect | None:
        """The head whose absence changes the label's probability most; None where none was switched off."""
        if isinstance(self.ablation, Missing) or not self.ablation:
            return None
        return max(self.ablation, key=lambda effect: abs(effect.change))

    def sharpest(self) -> tuple[int, int, float]:
        """The layer and head that look at the fewest places, and the mean over queries of its largest weight."""
        focus = (
            (layer.number, head, float(weights.max(axis=-1).mean()))
            for layer in self.layers
            for head, weights in zip(layer.heads, layer.weights, strict=True)
        )
        return max(focus, key=lambda found: found[2])


@dataclass(frozen=True, slots=True)
class Parity:
    """How far the network's scores and weights lie from the graph's on this input."""

    largest: float
    tolerance: float

    @property
    def within(self) -> bool:
        """Whether both give the same answer, as far as the bundle promises."""
        return self.largest <= self.tolerance

    @property
    def sentence(self) -> str:
        """The comparison in words."""
        measured = f"by at most {self.largest:.1e} on this input, tolerance {self.tolerance:.0e}"
        if self.within:
            return f"PyTorch and the served graph agree: scores and weights differ {measured}."
        return (
            f"PyTorch and the served graph do NOT agree: scores and weights differ {measured}. What gradients and "
            "ablation say of the network may not hold for what is served."
        )


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """Everything that is drawn of one input."""

    model: str
    version: int
    content: Content
    scores: Scores | Missing
    label: int | None
    """The label that gradients and ablation explain; None where the model scores none."""
    parity: Parity | Missing
    mechanisms: tuple[Mechanism, ...]
    notes: Sequence[str] = field(default=())
    """What else the reader must know, such as what truncation left out."""

    @property
    def label_name(self) -> str | None:
        """The explained label's name."""
        return None if self.label is None or isinstance(self.scores, Missing) else self.scores.labels[self.label]

    @property
    def probability(self) -> float | None:
        """The explained label's probability, by the graph."""
        if self.label is None or isinstance(self.scores, Missing):
            return None
        return float(self.scores.probabilities[self.label])

    def missing(self) -> Iterator[str]:
        """One sentence for each thing that is not there, each said once."""
        found: dict[str, object] = {"labels": self.scores, "comparison with PyTorch": self.parity}
        for mechanism in self.mechanisms:
            of = f" of {mechanism.name}" if len(self.mechanisms) > 1 else ""
            found[f"rollout{of}"] = mechanism.rollout
            found[f"gradients{of}"] = mechanism.gradient
            found[f"head ablation{of}"] = mechanism.ablation
        by_reason: dict[str, list[str]] = {}
        for what, value in found.items():
            if isinstance(value, Missing):
                by_reason.setdefault(value.reason, []).append(what)
        for reason, things in by_reason.items():
            yield f"no {', '.join(things)}: {reason}"


def key_weights(weights: Weights) -> Weights:
    """How much each key counts: [query, key] -> [key], the mean over the queries."""
    mean: Weights = weights.mean(axis=0)
    return mean


def size(positions: Positions) -> int:
    """How many places there are."""
    return positions.rows * positions.columns if isinstance(positions, CellAxis) else len(positions)


def position_name(positions: Positions, index: int) -> str:
    """A place in words: its token, or its row and column."""
    if isinstance(positions, CellAxis):
        return f"row {index // positions.columns}, column {index % positions.columns}"
    return positions[index].text


def spaced(tokens: Sequence[Token]) -> list[bool]:
    """Before which tokens a reader expects a space: before all but the first and those that go on where one ended."""
    joined = [
        before.end == after.start and before.start < before.end and after.start < after.end
        for before, after in pairwise(tokens)
    ]
    return [False, *(not goes_on for goes_on in joined)][: len(tokens)]
