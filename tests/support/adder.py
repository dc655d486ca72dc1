"""A model that writes by adding up, as numpy functions: what it writes can be computed by hand, so that rows can be
compared for equality.

A row's number is the sum of place times (token + 1) over all that it was fed, places from 1, plus 13 times the sum of
place times id over its source. From the number follow the scores of all tokens, whole eighths, and so the next token.
States come in all the kinds that graphs have: sums that a step replaces, a list in a shared buffer, a list that a step
gives back longer, and a source that stays as it is.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from server.generation.steps import StepGraph, StepGraphs
from server.manifest import (
    AttentionSpec,
    FixedAxis,
    GenerationSpec,
    GraphSpec,
    InputSpec,
    LengthAxis,
    Manifest,
    OutputSpec,
    RowAxis,
    StateSpec,
    TokenAxis,
)
from server.tensors import Array, Datatype
from tests.support.simulation import ThreadDeath

VOCABULARY = 24
PAD, END, START = 0, 1, 2
NAN, BREAKS, KILLS = 21, 22, 23
"""Tokens after which a row's scores are no numbers, that a run fails on, and that the thread of a run dies of; in a
source, the encode graph does the same. The model itself never writes them."""
LONGEST_SOURCE, LONGEST = 16, 40
ROW, SOURCE, POSITION = (
    RowAxis(),
    LengthAxis(name="length", max=LONGEST_SOURCE),
    LengthAxis(name="position", max=LONGEST),
)

Kind = Literal["sums", "shared", "copied"]


def scores_of(number: int) -> NDArray[np.float32]:
    """The scores of all tokens, [vocabulary]; those that harm are below all others."""
    tokens = np.arange(VOCABULARY)
    scores = ((number * (tokens + 3) + tokens * tokens) % 97 / 8).astype(np.float32)
    scores[NAN:] = -100.0
    return scores


def number_of(fed: Sequence[int], source: Sequence[int] = ()) -> int:
    """The number of a row."""
    own = sum(place * (token + 1) for place, token in enumerate(fed, start=1))
    return own + 13 * sum(place * token for place, token in enumerate(source, start=1))


def written(
    fed: Sequence[int],
    source: Sequence[int] = (),
    *,
    max_tokens: int,
    min_tokens: int = 0,
) -> tuple[tuple[int, ...], str]:
    """(what greedy decoding writes after `fed`, how it ends), token by token."""
    ids: list[int] = []
    while True:
        scores = scores_of(number_of((*fed, *ids), source))
        scores[PAD] = -np.inf
        if len(ids) < min_tokens:
            scores[END] = -np.inf
        token = int(scores.argmax())
        if token == END:
            return tuple(ids), "end"
        ids.append(token)
        if len(ids) == max_tokens:
            return tuple(ids), "length"


@dataclass(eq=False)
class Adder:
    """The graphs of one version, and what was asked of them."""

    kind: Kind = "sums"
    encodes: bool = True
    max_new: int = 1
    spend: Callable[[str, int], None] = lambda kind, rows: None
    """Told of each run before it computes: `encode` or `step`, and its rows."""
    during: Callable[[str], None] | None = None
    """Called in each run, as if something happened elsewhere meanwhile."""
    ran: list[tuple[str, int, tuple[str, ...]]] = field(default_factory=list)
    """(`encode` or `step`, rows, attention outputs fetched) of each run, those that failed too."""
    broken: list[str] = field(default_factory=list)
    """What the engine did that would read or write past a buffer."""
    lies: bool = False
    """Runs fail for no reason of any row's while there are several."""

    @property
    def maps(self) -> tuple[str, ...]:
        """The attention outputs."""
        return ("look_source",) if self.kind == "sums" else ("look_own", *(("look_source",) if self.encodes else ()))

    # --- the contract ---------------------------------------------------------------------------------------------

    def manifest(self) -> Manifest:
        """What a bundle of these graphs would say."""
        maps = self.maps if self.encodes or self.kind != "sums" else ()
        keys = {"look_source": SOURCE, "look_own": POSITION}
        inputs = [InputSpec(name="ids", datatype=Datatype.INT64, axes=(ROW, SOURCE))]
        if self.encodes:
            mask = InputSpec(
                name="mask", datatype=Datatype.BOOL, axes=(ROW, SOURCE), role="mask", pad=False, optional=True
            )
            inputs.append(mask)
        graphs = [
            GraphSpec(file="step.onnx", role="step", opset=20),
            GraphSpec(file="maps.onnx", role="step", opset=20, maps=True),
        ]
        if self.encodes:
            graphs.append(GraphSpec(file="encode.onnx", role="encode", opset=20))
        return Manifest(
            name="adder",
            task="text-generation",
            graphs=tuple(graphs if maps else [graphs[0], *graphs[2:]]),
            inputs=tuple(inputs),
            outputs=(
                OutputSpec(
                    name="logits", datatype=Datatype.FP32, axes=(ROW, FixedAxis(size=VOCABULARY)), role="logits"
                ),
                *(
                    OutputSpec(
                        name=name,
                        datatype=Datatype.FP32,
                        axes=(ROW, FixedAxis(size=1), LengthAxis(name="new"), keys[name]),
                        role="attention",
                    )
                    for name in maps
                ),
            ),
            states=self.states,
            generation=GenerationSpec(
                vocab_size=VOCABULARY,
                max_new=self.max_new,
                start=(START,),
                end=(END,),
                suppress=(PAD,),
                max_length=LONGEST,
                max_tokens=16,
            ),
            attention=tuple(
                AttentionSpec(
                    name=name,
                    mechanism="adding",
                    outputs=(name,),
                    query=TokenAxis(length="new"),
                    key=TokenAxis(length=keys[name].name),
                )
                for name in maps
            ),
        )

    @property
    def states(self) -> tuple[StateSpec, ...]:
        """What is carried from step to step."""
        sums = StateSpec(
            name="sums", output="next_sums", datatype=Datatype.INT64, axes=(ROW, FixedAxis(size=2)), kind="replace"
        )
        own = StateSpec(
            name="own",
            output="next_own",
            datatype=Datatype.INT64,
            axes=(ROW, POSITION),
            kind="append",
            growing_axis=1,
            length_input="lengths" if self.kind == "shared" else None,
            aliasable=self.kind == "shared",
        )
        source = StateSpec(name="source", source="source", datatype=Datatype.INT64, axes=(ROW, SOURCE), kind="constant")
        return (sums if self.kind == "sums" else own, *((source,) if self.encodes else ()))

    # --- the graphs -----------------------------------------------------------------------------------------------

    def encode(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        """The encode graph: the source, and nothing where it is padding."""
        ids = inputs["ids"]
        self._begin("encode", ids, ())
        found = {"source": np.where(inputs["mask"], ids, 0)}
        return {name: found[name] for name in outputs}

    def plain(self) -> StepGraph:
        """The step graph."""
        return StepGraph(self._bind, self._step)

    def with_maps(self) -> StepGraph:
        """The step graph that gives attention weights."""
        return StepGraph(self._bind, self._step, maps=True)

    def graphs(self) -> StepGraphs:
        """The step graphs of the manifest."""
        return StepGraphs(self.plain(), self.with_maps() if self.manifest().attention else None)

    def _bind(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array | None]) -> "_Bound":
        return _Bound(self, dict(inputs), dict(outputs))

    def _step(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        tokens = inputs["tokens"]
        self._begin("step", tokens, tuple(name for name in outputs if name.startswith("look")))
        found, numbers = self._add(inputs)
        if self.encodes:
            source = inputs["source"]
            numbers = numbers + 13 * (source * np.arange(1, source.shape[1] + 1)).sum(axis=1)
            found["look_source"] = _shares(source[:, None, :].repeat(tokens.shape[1], axis=1))
        found["logits"] = np.stack([scores_of(int(number)) for number in numbers])
        found["logits"][tokens[:, -1] == NAN] = np.nan
        return {name: found[name] for name in outputs}

    def _add(self, inputs: Mapping[str, Array]) -> tuple[dict[str, Array], NDArray[np.int64]]:
        """(states after the run, and weights over them; the number of each row)."""
        tokens = inputs["tokens"]
        rows, new = tokens.shape
        if self.kind == "sums":
            sums = inputs["sums"].copy()
            for place in range(new):
                sums[:, 1] += 1
                sums[:, 0] += sums[:, 1] * (tokens[:, place] + 1)
            return {"next_sums": sums}, sums[:, 0]
        own = inputs["own"]
        held = inputs["lengths"].tolist() if self.kind == "shared" else [own.shape[1]] * rows
        if self.kind == "shared":
            if max(held) + new > own.shape[1]:
                self.broken.append(f"{max(held)} positions and {new} new ones in a buffer of {own.shape[1]}")
            if new > 1 and rows > 1:
                self.broken.append(f"{new} new tokens of {rows} rows")
            own = own.copy()
        else:
            own = np.concatenate([own, np.zeros((rows, new), np.int64)], axis=1)
        for row, length in enumerate(held):
            own[row, length : length + new] = tokens[row] + 1
        seen = np.zeros((rows, new, max(held) + new), np.int64)
        for row, length in enumerate(held):
            for place in range(new):
                seen[row, place, : length + place + 1] = own[row, : length + place + 1]
        numbers = (seen[:, -1] * np.arange(1, seen.shape[2] + 1)).sum(axis=1)
        return {"next_own": own, "look_own": _shares(seen)}, numbers

    def _begin(self, kind: str, ids: Array, maps: tuple[str, ...]) -> None:
        self.ran.append((kind, len(ids), maps))
        self.spend(kind, len(ids))
        if self.during is not None:
            self.during(kind)
        if (ids == KILLS).any():
            raise ThreadDeath
        if (ids == BREAKS).any() or (self.lies and len(ids) > 1):
            raise RuntimeError("the graph broke")


@dataclass(eq=False)
class _Bound:
    """A run with its arrays in place, written where a bound graph writes."""

    adder: Adder
    inputs: dict[str, Array]
    outputs: dict[str, Array | None]

    def run(self) -> dict[str, Array]:
        for name, array in (*self.inputs.items(), *self.outputs.items()):
            if array is not None and not array.flags.c_contiguous:
                self.adder.broken.append(f"{name} is not one piece of memory")
        found = self.adder._step(self.inputs, list(self.outputs))
        for name, array in self.outputs.items():
            if array is not None:
                array[...] = found[name]
        return {name: found[name] for name, array in self.outputs.items() if array is None}


def _shares(values: Array) -> Array:
    """[rows, new, keys] -> [rows, 1, new, keys], each key its part of the whole."""
    total = np.maximum(1, values.sum(axis=-1, keepdims=True))
    return (values / total).astype(np.float32)[:, None]
