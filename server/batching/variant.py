"""One graph of a version, opened: how batches are laid out for it, what it computes, and what a run of it costs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from server.batching.cost import Cost
from server.batching.layout import Layout
from server.batching.request import Request
from server.manifest import Precision
from server.tensors import Array


class Stop(Protocol):
    """Ends one run."""

    def stop(self) -> None:
        """Ends the run as soon as the operator that computes now has finished; harmless before and after."""
        ...


Run = Callable[[Mapping[str, Array], Sequence[str], Any], Mapping[str, Array]]
"""A blocking run of a session: inputs by name, names of the outputs to fetch, what may stop it or None -> outputs by
name. What may stop it is made by the variant's own `make_stop`."""


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """Bounds of one batch; a single request always runs, even if it alone is over them."""

    max_rows: int
    max_tokens: int


SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
"""Rows of a batch at which its rate is looked at."""
BEST_SHARE, ENOUGH_SHARE = 0.98, 0.85
"""Of the highest rate: from here on a batch gains nothing by growing, and from here on it may run."""
REFRESH_RUNS = 256
"""After so many runs the sizes are looked at again, since what they cost has been corrected."""


@dataclass(eq=False, slots=True)
class Variant:
    """The scheduler picks among a version's variants by what they would cost."""

    layout: Layout
    precision: Precision
    run: Run
    outputs: frozenset[str]
    """What it can be asked for."""
    usual_outputs: tuple[str, ...]
    """What most callers ask for: all that it has but attention maps."""
    cost: Cost
    graph: str = ""
    """The name of its file."""
    provider: str = ""
    threads: int = 1
    """Cores that one run takes."""
    make_stop: Callable[[], Stop] | None = None
    """None: a run of it cannot be ended."""
    streams: int = 1
    """Runs at once for each of which a provider prepares its kernels by itself."""
    foreseeable: bool = True
    """Whether what a run costs follows from its shape: a graph with loops may run for a second or for an hour."""
    counts_cpu: bool = True
    """Whether a run computes in the thread that calls it, so that the thread's own time is what it costs."""
    _appetites: dict[int, tuple[int, int]] = field(default_factory=dict)
    _appetites_of_run: int = 0

    @property
    def name(self) -> str:
        """Such as `block-diagonal/fp32`."""
        return f"{self.layout.name}/{self.precision}"

    def answers(self, request: Request) -> bool:
        """Whether it has the precision and the outputs that the request asks for."""
        return request.precision == self.precision and all(name in self.outputs for name in request.outputs)

    def seconds(self, rows: int, tokens: int, longest: int) -> float:
        """The predicted core-seconds, or seconds of all its threads, of a run."""
        return self.cost.seconds(self.layout.work(rows, tokens, longest))

    def appetite(self, length: int, limits: BatchLimits) -> tuple[int, int]:
        """(enough, best) tokens of a batch of rows of this length.

        `best` is where the rate, tokens a second, is as good as it gets; `enough` is where most of that is reached, so
        that a smaller batch would waste a core, and a larger one only makes those in it wait.
        """
        if self.cost.observed_runs - self._appetites_of_run > REFRESH_RUNS:
            self._appetites.clear()
            self._appetites_of_run = self.cost.observed_runs
        found = self._appetites.get(length)
        if found is None:
            found = self._appetites[length] = self._sizes_by_rate(length, limits)
        return found

    def _sizes_by_rate(self, length: int, limits: BatchLimits) -> tuple[int, int]:
        rates: list[tuple[int, float]] = []
        for count in SIZES:
            tokens, unused = self.layout.full(count * length)
            rows = max(1, tokens // length)
            if rates and (rows > limits.max_rows or tokens > limits.max_tokens):
                break
            rates.append((tokens, (tokens - unused) / max(1e-12, self.seconds(rows, tokens, length))))
        highest = max(rate for _, rate in rates)
        enough, best = (
            next(tokens for tokens, rate in rates if rate >= share * highest) for share in (ENOUGH_SHARE, BEST_SHARE)
        )
        return enough, best
