"""A model that writes token by token, run through its graphs as a server runs it: on buffers that stay where they are.

A text is a row: what the model reads, under the names of its inputs, and `tokens`, int64 [1, T], the start token and
what follows it, which are fed one after another.

    rows -> encode -> states -> several tokens of one row in one run ┐
                                one token of every row in each run  ─┴> logits, attention weights of each text
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.export.quantise_compare import Answer
from models.export.rows import Row, pad_rows, row_lengths
from models.export.stepwise import encode_outputs, generation_of, step_inputs
from models.networks.stepwise import LENGTHS, POSITION, TOKENS
from models.tasks.task import Signature
from server.manifest import FixedAxis, LengthAxis, OutputSpec, StateSpec
from server.runtime.binding import BoundRun
from server.runtime.session import Session
from server.tensors import NUMPY_DTYPES, Array

SPARE = 3
"""Positions that buffers have beyond what they must hold."""
STALE = 3.0e8
"""What stands where nothing was written yet: no weight may fall on it."""


@dataclass(frozen=True)
class StepSeen:
    """One run of the step graph; everything is of the rows that ran."""

    tokens: Array
    lengths: NDArray[np.int32]
    before: Mapping[str, Array]
    after: Mapping[str, Array]
    outputs: Mapping[str, Array]
    sources: Sequence[Mapping[str, int]]
    """How long what each row reads is, by the axis' name."""


Watch = Callable[[StepSeen], None]


class Walker:
    """The step graph, and the graph that encodes where there is one, open in sessions.

    `maps`: with the attention weights.
    """

    def __init__(self, signature: Signature, step: Session, encode: Session | None, *, maps: bool) -> None:
        self.signature = signature
        self.generation = generation_of(signature)
        self.step = step
        self.encode = encode
        self.attention = tuple(spec for spec in signature.outputs if spec.role == "attention") if maps else ()

    def walk(self, rows: Sequence[Row], held: Sequence[int] = (), watch: Watch | None = None) -> list[Answer]:
        """Writes all texts side by side: what the graph answers to each, its logits (1,T,V) and weights (1,H,T,K).

        `held` says how many tokens of each row are fed to it by itself, as many in a run as the graph takes; the others
        go together, a token of each row in each run. Of the logits, those before the last one held are left out.
        """
        held = held or [0] * len(rows)
        order = sorted(range(len(rows)), key=lambda row: rows[row][TOKENS].shape[1] - held[row], reverse=True)
        texts = [_Text(rows[row][TOKENS], self.source_lengths(rows[row]), self.generation.logits) for row in order]
        live = self._begin([rows[row] for row in order], max(text.tokens.shape[1] for text in texts))
        for index, row in enumerate(order):
            for first in range(0, held[row], self.generation.max_new):
                chunk = texts[index].tokens[:, first : min(held[row], first + self.generation.max_new)]
                texts[index].note(live.run(index, chunk, watch), 0, chunk.shape[1], self.attention)
            del texts[index].logits[:-1]
        while going := sum(int(live.lengths[index]) < text.tokens.shape[1] for index, text in enumerate(texts)):
            fed = [text.tokens[:, [at]] for text, at in zip(texts[:going], live.lengths.tolist(), strict=False)]
            outputs = live.run(0, np.concatenate(fed), watch)
            for place, text in enumerate(texts[:going]):
                text.note(outputs, place, 1, self.attention)
        answers = dict(zip(order, texts, strict=True))
        return [answers[row].answer(self.attention) for row in range(len(rows))]

    def write(self, rows: Sequence[Row], max_tokens: int) -> list[list[int]]:
        """Writes on behind the `tokens` of each row, the likeliest token each time: the new ones, without the end.

        Of equally likely ones the lowest is taken. No text gets longer than the model allows.
        """
        generation = self.generation
        longest = max(row[TOKENS].shape[1] for row in rows)
        live = self._begin(rows, min(longest + max_tokens, generation.max_length))
        logits: Array = np.empty((len(rows), generation.vocab_size), np.float32)
        for index, row in enumerate(rows):
            for first in range(0, row[TOKENS].shape[1], generation.max_new):
                chunk = row[TOKENS][:, first : first + generation.max_new]
                logits[index] = live.run(index, chunk)[generation.logits][0]
        written: list[list[int]] = [[] for _ in rows]
        going = np.ones(len(rows), dtype=np.bool_)
        for count in range(1, max_tokens + 1):
            logits[:, list(generation.suppress)] = -np.inf
            chosen = logits.argmax(axis=1)
            going &= ~np.isin(chosen, generation.end)
            for index in np.flatnonzero(going).tolist():
                written[index].append(int(chosen[index]))
            if not going.any() or count == max_tokens or live.lengths.max() == live.capacity:
                break
            logits = live.run(0, chosen[:, None].astype(np.int64))[generation.logits]
        return written

    def source_lengths(self, row: Row) -> dict[str, int]:
        """The lengths of what a row reads before its first step, by the axis' name."""
        if self.encode is None:
            return {}
        inputs = self.signature.inputs
        return row_lengths({spec.name: row[spec.name] for spec in inputs}, inputs)

    def _begin(self, rows: Sequence[Row], positions: int) -> "_Live":
        inputs = self.signature.inputs
        started: Mapping[str, Array] = {}
        lengths = [self.source_lengths(row) for row in rows]
        if self.encode is not None:
            sources = [{spec.name: row[spec.name] for spec in inputs} for row in rows]
            names = [spec.name for spec in encode_outputs(self.signature.states)]
            started = self.encode.run(pad_rows(sources, inputs), names)
        states = {
            state.name: _laid(state, started.get(state.source or ""), lengths, positions + SPARE)
            for state in self.signature.states
        }
        return _Live(self, states, lengths, positions + SPARE)


class _Live:
    """The states of rows that are being written; each row stands where it stood."""

    def __init__(
        self, walker: Walker, states: dict[str, Array], sources: Sequence[Mapping[str, int]], capacity: int
    ) -> None:
        self._walker = walker
        self._states = states
        self._sources = sources
        self._takes_lengths = any(spec.name == LENGTHS for spec in step_inputs(walker.signature))
        self.lengths = np.zeros(len(sources), np.int32)
        self.capacity = capacity - SPARE

    def run(self, first: int, tokens: Array, watch: Watch | None = None) -> dict[str, Array]:
        """Feeds new tokens [rows, new] to the rows from `first` on; returns logits and attention weights."""
        rows = slice(first, first + len(tokens))
        walker, generation = self._walker, self._walker.generation
        lengths = self.lengths[rows].copy()
        states = {name: array[rows] for name, array in self._states.items()}
        before = {} if watch is None else {name: array.copy() for name, array in states.items()}
        inputs = {generation.tokens: np.ascontiguousarray(tokens), **states}
        if self._takes_lengths:
            inputs[LENGTHS] = lengths
        outputs: dict[str, Array | None] = dict.fromkeys((generation.logits, *(spec.name for spec in walker.attention)))
        for state in walker.signature.states:
            if state.output is not None:
                outputs[state.output] = states[state.name] if state.kind == "append" else None
        fetched = BoundRun(walker.step, inputs, outputs).run()
        for state in walker.signature.states:
            if state.kind == "replace" and state.output is not None:
                states[state.name][:] = fetched.pop(state.output)
        self.lengths[rows] += tokens.shape[1]
        if watch is not None:
            watch(StepSeen(tokens, lengths, before, states, fetched, self._sources[rows]))
        return fetched


class _Text:
    """One text while it is fed, and what was answered so far."""

    def __init__(self, tokens: Array, lengths: Mapping[str, int], name: str) -> None:
        self.tokens = tokens
        self._name = name
        self.lengths = lengths
        self.logits: list[Array] = []
        self._weights: dict[str, list[Array]] = {}
        self._fed = 0

    def note(self, outputs: Mapping[str, Array], index: int, new: int, attention: Sequence[OutputSpec]) -> None:
        """Takes the answer to the next `new` tokens out of what a run returned for its row `index`."""
        self.logits.append(outputs[self._name][index : index + 1])
        self._fed += new
        for spec in attention:
            keys = own_keys(spec, self.lengths, self._fed)
            self._weights.setdefault(spec.name, []).append(outputs[spec.name][index : index + 1, ..., :keys])

    def answer(self, attention: Sequence[OutputSpec]) -> Answer:
        """All that was noted; weights over keys that were not there yet are zero."""
        logits = np.stack(self.logits, axis=1)
        return {self._name: logits, **{spec.name: joined_weights(self._weights[spec.name]) for spec in attention}}


def own_keys(spec: OutputSpec, source_lengths: Mapping[str, int], written: int) -> int:
    """How many keys a row's weights are about, when it holds so many positions."""
    keys = spec.axes[-1]
    assert isinstance(keys, LengthAxis)  # noqa: S101 - attention weights are over what has a length
    return written if keys.name == POSITION else source_lengths[keys.name]


def joined_weights(parts: Sequence[Array]) -> Array:
    """The weights of a text's tokens, (1,H,T,K), from those of a few each: zero for keys that came later."""
    keys = max(part.shape[-1] for part in parts)
    return np.concatenate([np.pad(part, [(0, 0)] * 3 + [(0, keys - part.shape[-1])]) for part in parts], axis=2)


def _laid(state: StateSpec, started: Array | None, lengths: Sequence[Mapping[str, int]], positions: int) -> Array:
    """A buffer for a state, longer than what it must hold, and filled with what must never be read.

    `started` is what the encode graph returned for it, None where it begins as zeros.
    """
    if started is None:
        sizes = [axis.size if isinstance(axis, FixedAxis) else positions for axis in state.axes[1:]]
        stale = STALE if state.kind == "append" else 0
        return np.full((len(lengths), *sizes), stale, NUMPY_DTYPES[state.datatype])
    grown = [
        size + SPARE if isinstance(axis, LengthAxis) else size
        for axis, size in zip(state.axes, started.shape, strict=True)
    ]
    stale = STALE if started.dtype.kind == "f" else 0
    buffer = np.full(grown, stale, started.dtype)
    for row, own in enumerate(lengths):
        kept = tuple(slice(own[axis.name]) if isinstance(axis, LengthAxis) else slice(None) for axis in state.axes[1:])
        buffer[(row, *kept)] = started[(row, *kept)]
    return buffer
