"""What encoding, reading and stepping cost, and with how many threads a step is quickest; in bounded time."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from server.batching.cost import Cost, Measurement, Work
from server.generation.encoding import Encoder
from server.generation.slots import StatesFull
from server.generation.steps import StepGraph
from server.loading.generation.trial import Trial
from server.loading.samples import Samples
from server.manifest import Manifest
from server.tensors import Array

ROWS = (1, 2, 4, 8, 16, 32, 64)
LENGTHS = (8, 32, 128)
REPETITIONS = 3
CLEARLY_TURNED = 1.05
"""How many times quicker a step must be as columns to run so."""
CLEARLY = 1.25
"""How many times quicker runs of many threads must be to have the cores that others could use meanwhile: other runs,
and the event loop, without which nobody joins or is told."""


@dataclass(frozen=True, slots=True)
class Bench:
    """What is measured with."""

    manifest: Manifest
    samples: Samples
    max_rows: int
    max_bytes: int
    seconds: float
    clock: Callable[[], float] = time.perf_counter

    def step(self, graph: StepGraph, start: Mapping[str, Array]) -> list[Measurement]:
        """Steps of few rows and of many, as far as they can be held. Raises StatesFull, and what a run raises."""
        return self.steps([(graph, start)])[0]

    def steps(self, ways: Sequence[tuple[StepGraph, Mapping[str, Array]]]) -> list[list[Measurement]]:
        """The same for several ways of running a graph, by turns: what else goes on here meets them all alike.

        The time that may be spent is for two of them, and more in proportion.
        """
        trials = [Trial(self.manifest, graph, self.max_rows, self.max_bytes) for graph, _ in ways]
        end = self.clock() + self.seconds * max(1.0, len(ways) / 2)
        found: list[list[Measurement]] = [[] for _ in ways]
        for rows in (count for count in ROWS if count <= self.max_rows):
            if found[0] and self.clock() + sum(one[-1].seconds for one in found) * 2 * (REPETITIONS + 1) > end:
                break
            try:
                for trial, (_, start) in zip(trials, ways, strict=True):
                    trial.join(start, rows)
            except StatesFull:
                if not found[0]:
                    raise
                break
            for one, taken in zip(found, self._stepped(trials, rows), strict=True):
                one.append(taken)
        return found

    def _stepped(self, trials: Sequence[Trial], rows: int) -> list[Measurement]:
        tokens = [self._token] * rows
        for trial in trials:
            trial.step(tokens)  # the first run of a size prepares for it
        held = int(trials[0].rows.lengths[:rows].sum())
        taken: list[list[float]] = [[] for _ in trials]
        for _ in range(REPETITIONS):
            for times, trial in zip(taken, trials, strict=True):
                times.append(self._timed(partial(trial.step, tokens)))
        for trial in trials:
            trial.clear()
        return [Measurement(Work(rows, rows, held), min(times)) for times in taken]

    def read(self, graph: StepGraph, start: Mapping[str, Array]) -> list[Measurement]:
        """Parts of a prompt. Raises what a run raises."""
        assert self.manifest.generation is not None  # noqa: S101
        most = self.manifest.generation.max_new
        found: list[Measurement] = []
        for size in sorted({1, min(8, most), most}):
            trial = Trial(self.manifest, graph, 1, self.max_bytes)
            taken = []
            for _ in range(REPETITIONS):
                trial.join(start, 1)
                taken.append(self._timed(partial(trial.read, [self._token] * size)))
                trial.clear()
            found.append(Measurement(Work(1, size, size * size), min(taken)))
        return found

    def encode(self, encoder: Encoder) -> list[Measurement]:
        """Sources alone and in company, short and long. Raises what a run raises."""
        lengths = sorted({min(length, self.samples.longest) for length in LENGTHS})
        end = self.clock() + self.seconds
        found: list[Measurement] = []
        for count, length in ((count, length) for length in lengths for count in (1, 4)):
            if found and self.clock() > end:
                break
            sources = [self.samples.rows(1, length, encoder.outputs) for _ in range(count)]
            encoder.encode(sources)
            taken = [self._timed(partial(encoder.encode, sources)) for _ in range(2)]
            found.append(Measurement(encoder.work(sources), min(taken)))
        return found

    @property
    def _token(self) -> int:
        assert self.manifest.generation is not None  # noqa: S101
        return (*self.manifest.generation.start, 0)[0]

    def _timed(self, run: Callable[[], object]) -> float:
        begin = self.clock()
        run()
        return max(1e-7, self.clock() - begin)


def turned(rows: Sequence[Measurement], columns: Sequence[Measurement], most: int) -> frozenset[int]:
    """The numbers of rows, up to `most`, for which steps run as columns; both were measured at the same sizes.

    A number that was not measured goes with the next that was: products as columns cost by vectors, not by rows.
    """
    quicker: set[int] = set()
    first = 1
    for number, (one, other) in enumerate(zip(rows, columns, strict=True), start=1):
        last = one.work.rows if number < len(rows) else most
        if other.seconds * CLEARLY_TURNED < one.seconds:
            quicker.update(range(first, last + 1))
        first = last + 1
    return frozenset(quicker)


def measured(found: Sequence[Measurement], rough: Cost) -> Cost:
    """The cost fitted to measurements; the rough one where there are none."""
    return Cost.measured(found) if found else rough


def quicker(one: Sequence[Measurement], many: Sequence[Measurement]) -> bool:
    """Whether runs of many threads are clearly quicker, over the sizes that both were measured at."""
    both = [(a.seconds, b.seconds) for a, b in zip(one, many, strict=False) if a.work == b.work]
    return bool(both) and sum(a for a, _ in both) > CLEARLY * sum(b for _, b in both)
