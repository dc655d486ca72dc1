"""A running batch without requests: to replay golden rows and to measure what runs cost, as the lane will make them."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from server.generation.rows import LiveRows
from server.generation.slots import Slots
from server.generation.steps import StepGraph, StepGraphs, Steps, make_steps
from server.manifest import Manifest
from server.tensors import Array


class Trial:
    """Rows that all begin alike, stepped with given tokens."""

    def __init__(self, manifest: Manifest, graph: StepGraph, max_rows: int, max_bytes: int) -> None:
        assert manifest.generation is not None  # noqa: S101 - of generative bundles only
        self.slots = Slots(manifest.states, max_rows=max_rows, max_bytes=max_bytes)
        self.rows: LiveRows[None] = LiveRows(max_rows)
        self._steps: Steps = make_steps(manifest.generation, manifest.states, self.slots, StepGraphs(graph), max_rows)
        self._growing = manifest.growing

    def join(self, start: Mapping[str, Array], count: int) -> None:
        """So many rows, each beginning with the first row of `start`."""
        for _ in self.slots.join(start, 0, count):
            self.rows.join(None, token=0, limit=1, forced=False, resting=False, beams=False)

    def step(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        """Feeds each row its token; the logits [rows, vocabulary], good until the next run."""
        rows = self.rows
        rows.tokens[: rows.count, 0] = tokens
        self._make_room(rows.longest() + 1)
        logits = self._steps.step(rows, ()).logits
        rows.lengths[: rows.count] += 1
        return logits

    def read(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        """Feeds the first row some tokens at once; the logits after the last, [1, vocabulary]."""
        held = int(self.rows.lengths[0])
        self._make_room(held + len(tokens))
        logits = self._steps.alone(0, tokens, held, ()).logits
        self.rows.lengths[0] = held + len(tokens)
        return logits

    def clear(self) -> None:
        """Lets all rows go."""
        while self.rows.count:
            self.slots.leave(self.rows.count - 1)
            self.rows.leave(self.rows.count - 1)
        self.slots.clear()

    def _make_room(self, positions: int) -> None:
        if self._growing:
            self.slots.reserve(0, dict.fromkeys(self._growing, positions))
