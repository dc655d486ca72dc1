"""The graphs of a model that writes, run without our server: the encoder over padded rows, steps over rows in buffers.

By code of its own, not by the server's: what it writes is what the server's texts are held against, and how fast it can
be is what the server is measured against.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from benchmarks.load.requests import Ids
from server.manifest import MANIFEST_FILE, FixedAxis, GenerationSpec, LengthAxis, StateSpec, parse_manifest
from server.runtime.providers import LEFT_UNFUSED
from server.tensors import NUMPY_DTYPES, Array

Started = Mapping[str, Array]
"""What the encoder gave, by state; the first axis counts rows."""


def step_layouts(folder: Path, precision: str) -> tuple[str, ...]:
    """The layouts in which a bundle has a step graph of this precision."""
    graphs = parse_manifest((folder / MANIFEST_FILE).read_bytes()).graphs
    return tuple(dict.fromkeys(spec.layout for spec in graphs if (spec.role, spec.precision) == ("step", precision)))


class StepGraphs:
    """The sessions of a bundle in one precision; runs of both take so many threads."""

    def __init__(self, folder: Path, precision: str, threads: int, *, layout: str = "rows") -> None:
        """Opens them, the step graph in this layout.

        Raises ValueError for a bundle that writes nothing, or not in this precision and layout.
        """
        self._manifest = parse_manifest((folder / MANIFEST_FILE).read_bytes())
        if self._manifest.generation is None:
            raise ValueError(f"{self._manifest.name} writes no text")
        self.spec: GenerationSpec = self._manifest.generation
        self.states: tuple[StateSpec, ...] = self._manifest.states
        self._encode = _open(folder / self._file("encode", precision, "rows"), threads)
        self.step = _open(folder / self._file("step", precision, layout), threads)

    def encode(self, rows: Sequence[Ids]) -> Started:
        """One run over all rows, padded to the longest."""
        longest = max(map(len, rows))
        lengths = np.array([len(row) for row in rows])
        feeds: dict[str, Array] = {}
        for spec in self._manifest.inputs:
            feeds[spec.name] = np.full((len(rows), longest), spec.pad, dtype=NUMPY_DTYPES[spec.datatype])
            if spec.role == "mask":
                feeds[spec.name][:] = np.arange(longest) < lengths[:, None]
                continue
            for index, row in enumerate(rows):
                feeds[spec.name][index, : len(row)] = row
        sources = {state.name: state.source for state in self.states if state.source is not None}
        return dict(zip(sources, self._encode.run(list(sources.values()), feeds), strict=True))

    def _file(self, role: str, precision: str, layout: str) -> str:
        """Of two that differ in whether they return attention weights, the one that does not."""
        wanted = (role, precision, layout)
        found = [spec for spec in self._manifest.graphs if (spec.role, spec.precision, spec.layout) == wanted]
        if not found:
            raise ValueError(f"the bundle of {self._manifest.name} has no {role} graph in {precision} and {layout}")
        return min(found, key=lambda spec: spec.maps).file


class BufferedRows:
    """So many rows of a step graph, each in buffers that are bound once; all of them run at each step.

    `tokens` are what the next step reads, [rows, 1]; `logits` what the last one gave, [rows, vocabulary].
    """

    def __init__(self, graphs: StepGraphs, count: int, longest_source: int, capacity: int) -> None:
        """`capacity` is how many positions a row may come to hold.

        Raises ValueError for a state that grows without a buffer of its own.
        """
        self._graphs = graphs
        spec = graphs.spec
        self.tokens: NDArray[np.int64] = np.zeros((count, 1), dtype=np.int64)
        self.lengths: NDArray[np.int32] = np.zeros(count, dtype=np.int32)
        self.logits: NDArray[np.float32] = np.zeros((count, spec.vocab_size), dtype=np.float32)
        self._never = sorted({*spec.end, *spec.suppress})
        self._now = 0
        self._buffers = {state.name: _buffers(state, count, longest_source, capacity) for state in graphs.states}
        self._bindings = [self._bind(turn) for turn in range(max(map(len, self._buffers.values())))]

    def put(self, row: int, started: Started, index: int) -> None:
        """Begins a text in a row, with what the encoder gave in that place."""
        self.lengths[row] = 0
        for state in self._graphs.states:
            if state.kind == "append":
                continue  # What lies behind a row's length is not read.
            buffer = self._past(state, self._now)
            buffer[row] = 0
            if state.source is not None:
                given = started[state.name][index]
                room = buffer[row : row + 1]
                room[(slice(None), *(slice(0, size) for size in np.shape(given)))] = given

    def step(self) -> None:
        """Feeds every row its token."""
        self._graphs.step.run_with_iobinding(self._bindings[self._now])
        self._now = (self._now + 1) % len(self._bindings)
        self.lengths += 1

    def likeliest(self) -> NDArray[np.int64]:
        """The token of the highest score in each row, of those that do not end a text, [rows]."""
        self.logits[:, self._never] = -np.inf
        found: NDArray[np.int64] = self.logits.argmax(axis=1)
        return found

    def _past(self, state: StateSpec, turn: int) -> Array:
        buffers = self._buffers[state.name]
        return buffers[turn % len(buffers)]

    def _bind(self, turn: int) -> Any:
        binding = self._graphs.step.io_binding()
        spec = self._graphs.spec
        _bind(binding.bind_input, spec.tokens, self.tokens)
        _bind(binding.bind_output, spec.logits, self.logits)
        for name in {state.length_input for state in self._graphs.states if state.length_input is not None}:
            _bind(binding.bind_input, name, self.lengths)
        for state in self._graphs.states:
            _bind(binding.bind_input, state.name, self._past(state, turn))
            if state.output is not None:
                _bind(binding.bind_output, state.output, self._past(state, turn + 1))
        return binding


def _buffers(state: StateSpec, count: int, longest_source: int, capacity: int) -> list[Array]:
    """One buffer, or two that take turns where a step makes the state anew."""
    if state.kind == "append" and not state.aliasable:
        raise ValueError(f"the state {state.name} grows by copies, which is not measured here")
    shape = [count]
    for number, axis in enumerate(state.axes[1:], start=1):
        if isinstance(axis, FixedAxis):
            shape.append(axis.size)
        elif isinstance(axis, LengthAxis):
            shape.append(capacity if number == state.growing_axis else longest_source)
    return [np.zeros(shape, dtype=NUMPY_DTYPES[state.datatype]) for _ in range(2 if state.kind == "replace" else 1)]


def _bind(bind: Any, name: str, array: Array) -> None:
    bind(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)


def _open(path: Path, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("optimization.disable_specified_optimizers", ";".join(LEFT_UNFUSED))
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
