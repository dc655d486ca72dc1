"""Runs of the step graph over live rows: on buffers that stay where they are, or, for graphs that cannot, on copies."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from server.generation.rows import LiveRows
from server.generation.slots import Slots
from server.manifest import GenerationSpec, StateSpec
from server.tensors import Array

MAX_BINDINGS = 256
"""Tables of addresses that are kept, one for each number of rows and each set of outputs."""


class Bound(Protocol):
    """A run with its arrays in place."""

    def run(self) -> dict[str, Array]:
        """Computes; returns the outputs that had no array of their own."""
        ...


@dataclass(frozen=True, slots=True)
class StepGraph:
    """A step graph that can be run."""

    bind: Callable[[Mapping[str, Array], Mapping[str, Array | None]], Bound]
    run: Callable[[Mapping[str, Array], Sequence[str]], dict[str, Array]]
    maps: bool = False
    """Whether it gives attention weights."""


@dataclass(frozen=True, slots=True)
class StepGraphs:
    """The step graphs of one precision, which compute the same."""

    plain: StepGraph
    maps: StepGraph | None = None
    """What gives attention weights; None where `plain` does, or nothing does."""
    columns: StepGraph | None = None
    """What is quicker for some numbers of rows; None where there is no such graph."""
    columns_rows: frozenset[int] = frozenset()
    """These numbers."""

    @property
    def give_maps(self) -> bool:
        """Whether attention weights can be had."""
        return (self.maps or self.plain).maps

    def of(self, rows: int, maps: Sequence[str] = ()) -> StepGraph:
        """What runs a step of so many rows that is to give these weights."""
        if maps:
            return self.over_rows(maps)
        return self.columns if self.columns is not None and rows in self.columns_rows else self.plain

    def over_rows(self, maps: Sequence[str]) -> StepGraph:
        """What gives these weights, or none, for any number of rows and of tokens."""
        return (self.maps or self.plain) if maps else self.plain


@dataclass(slots=True, eq=False)
class Stepped:
    """What a run gave."""

    logits: NDArray[np.float32]
    """[rows, vocabulary]; of rows that rest, nothing of meaning."""
    maps: Mapping[str, Array]
    """[rows, heads, new, keys] by output; keys beyond a row's own are of no meaning."""


class Steps(Protocol):
    """Runs the step graph for a lane; in a worker thread, one run at a time."""

    def step(self, rows: LiveRows[Any], maps: Sequence[str]) -> Stepped:
        """Feeds every row that does not rest its next token, and makes the states those after it.

        The rows' lengths and tokens are left to the caller. Raises InferenceFailed, and the states are as before.
        """
        ...

    def alone(self, row: int, tokens: Sequence[int], held: int, maps: Sequence[str]) -> Stepped:
        """Feeds one row, which holds so many positions, one or more tokens; the others stay as they are."""
        ...


class _Common:
    def __init__(
        self,
        spec: GenerationSpec,
        states: Sequence[StateSpec],
        slots: Slots,
        graphs: StepGraphs,
    ) -> None:
        self.spec = spec
        self.states = states
        self.slots = slots
        self.graphs = graphs
        self.length_inputs = tuple(
            dict.fromkeys(state.length_input for state in states if state.length_input is not None)
        )


class SharedSteps(_Common):
    """For graphs whose appended states may share one buffer before and after, or which have none.

    A run over all live rows reads and writes the first rows of the slots' buffers. Rows that rest are computed with
    them, because to leave them out would be to move rows; what a step adds to them lies beyond what they hold and is
    written over later, and states that a step replaces are put back.
    """

    def __init__(
        self,
        spec: GenerationSpec,
        states: Sequence[StateSpec],
        slots: Slots,
        graphs: StepGraphs,
        max_rows: int,
    ) -> None:
        super().__init__(spec, states, slots, graphs)
        self._logits = np.empty((max_rows, spec.vocab_size), np.float32)
        self._bound: dict[tuple[object, ...], Bound] = {}
        self._layout = -1

    def step(self, rows: LiveRows[Any], maps: Sequence[str]) -> Stepped:
        """As `Steps.step`."""
        slots, n = self.slots, rows.count
        if slots.generation != self._layout or len(self._bound) > MAX_BINDINGS:
            self._bound.clear()
            self._layout = slots.generation
        key = (n, slots.parity, *maps)
        bound = self._bound.get(key)
        if bound is None:
            graph, lengths = self.graphs.of(n, maps), rows.lengths[:n]
            bound = self._bound[key] = self._bind(graph, rows.tokens[:n], lengths, slots.past, slots.present, maps)
        fetched = bound.run()
        slots.flip(kept=np.flatnonzero(rows.resting[:n]).tolist())
        return Stepped(self._logits[:n], fetched)

    def alone(self, row: int, tokens: Sequence[int], held: int, maps: Sequence[str]) -> Stepped:
        """As `Steps.alone`."""
        fed = np.array([tokens], np.int64)
        lengths = np.array([held], np.int32)
        slots = self.slots

        def past(name: str) -> Array:
            return slots.past_of(name, row)

        def present(name: str) -> Array | None:
            return slots.present_of(name, row)

        fetched = self._bind(self.graphs.over_rows(maps), fed, lengths, past, present, maps).run()
        slots.flip(slice(row, row + 1))
        return Stepped(self._logits[:1], fetched)

    def _bind(
        self,
        graph: StepGraph,
        tokens: NDArray[np.int64],
        lengths: NDArray[np.int32],
        past: Callable[[str], Array],
        present: Callable[[str], Array | None],
        maps: Sequence[str],
    ) -> Bound:
        inputs: dict[str, Array] = {self.spec.tokens: tokens}
        inputs.update(dict.fromkeys(self.length_inputs, lengths))
        outputs: dict[str, Array | None] = {self.spec.logits: self._logits[: len(tokens)]}
        for state in self.states:
            inputs[state.name] = past(state.name)
            if state.output is not None:
                outputs[state.output] = present(state.name)
        outputs.update(dict.fromkeys(maps))
        return graph.bind(inputs, outputs)


class CopiedSteps(_Common):
    """For graphs that give a state longer by what was added: as exported by others, without a row's own length.

    Rows that hold equally many positions run together; each run gathers their states and writes back what is new.
    """

    def step(self, rows: LiveRows[Any], maps: Sequence[str]) -> Stepped:
        """As `Steps.step`."""
        n = rows.count
        logits = np.zeros((n, self.spec.vocab_size), np.float32)
        gathered: dict[str, list[tuple[NDArray[np.intp], Array]]] = {name: [] for name in maps}
        active = rows.active()
        ran: list[tuple[NDArray[np.intp], int, dict[str, Array]]] = []
        for length in np.unique(rows.lengths[active]).tolist():
            company = active[rows.lengths[active] == length]
            outputs = self._run(company, rows.tokens[company], length, maps)
            logits[company] = outputs[self.spec.logits]
            for name in maps:
                gathered[name].append((company, outputs[name]))
            ran.append((company, length, outputs))
        for company, length, outputs in ran:  # only once nothing can fail any more
            self._keep(company, length, outputs)
        return Stepped(logits, {name: side_by_side(n, parts) for name, parts in gathered.items()})

    def alone(self, row: int, tokens: Sequence[int], held: int, maps: Sequence[str]) -> Stepped:
        """As `Steps.alone`."""
        company = np.array([row])
        outputs = self._run(company, np.array([tokens], np.int64), held, maps)
        self._keep(company, held, outputs)
        logits: NDArray[np.float32] = outputs[self.spec.logits].astype(np.float32, copy=False)
        return Stepped(logits, {name: outputs[name] for name in maps})

    def _run(
        self, company: NDArray[np.intp], tokens: NDArray[np.int64], length: int, maps: Sequence[str]
    ) -> dict[str, Array]:
        rows = company.tolist()
        inputs: dict[str, Array] = {self.spec.tokens: tokens}
        inputs.update(dict.fromkeys(self.length_inputs, np.full(len(rows), length, np.int32)))
        for state in self.states:
            if state.kind == "append":
                inputs[state.name] = self.slots.gather(state.name, rows, length)
            else:
                inputs[state.name] = self.slots.past(state.name)[company]
        wanted = [self.spec.logits, *(state.output for state in self.states if state.output is not None), *maps]
        return self.graphs.over_rows(maps).run(inputs, wanted)

    def _keep(self, company: NDArray[np.intp], length: int, outputs: Mapping[str, Array]) -> None:
        for state in self.states:
            if state.output is None:
                continue
            if state.kind == "append":
                self.slots.append(state.name, company.tolist(), length, outputs[state.output])
            else:
                self.slots.past(state.name)[company] = outputs[state.output]


def side_by_side(count: int, parts: Sequence[tuple[NDArray[np.intp], Array]]) -> Array:
    """Weights of several companies as one array over all rows, zeros where a row has fewer keys."""
    heads, new = parts[0][1].shape[1:3]
    joined = np.zeros((count, heads, new, max(part.shape[-1] for _, part in parts)), np.float32)
    for company, part in parts:
        joined[company, ..., : part.shape[-1]] = part
    return joined


def make_steps(
    spec: GenerationSpec,
    states: Sequence[StateSpec],
    slots: Slots,
    graphs: StepGraphs,
    max_rows: int,
) -> Steps:
    """The kind that the states allow."""
    if all(state.aliasable for state in states if state.kind == "append"):
        return SharedSteps(spec, states, slots, graphs, max_rows)
    return CopiedSteps(spec, states, slots, graphs)
