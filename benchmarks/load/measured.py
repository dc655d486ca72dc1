"""The outcome of one run: raw counts, from which every figure is computed when it is asked for."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from benchmarks.load.latency import encode, latencies_s, percentile_ms
from benchmarks.load.records import Outcome, Records
from benchmarks.load.schedule import Closed, Phase, Schedule
from benchmarks.load.verdict import Read, Tolerance, Vector, judge
from benchmarks.load.writing import Comparison

Figure = Literal["tokens_per_s", "requests_per_s", "p50_ms", "p99_ms", "in_time_per_s", "first_p99_ms"]
RESOURCE_EXHAUSTED = 8
"""The gRPC status of a call that was refused at once."""


class Compared(BaseModel):
    """How the texts that were written compare with what is right; see `benchmarks.load.writing.Comparison`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    texts: int
    tokens: int
    tokens_alike: int | None
    """Tokens before the first difference in each text; None: nothing but the length was compared."""
    parted_at_tie: int
    """Texts that leave what is right where two tokens are as good as equally likely."""
    unequal: int
    """Texts that leave it elsewhere, or are of another length: these are wrong."""

    @classmethod
    def of(cls, comparison: Comparison) -> "Compared":
        """The same, as it is written."""
        return cls(**asdict(comparison))


class Measured(BaseModel):
    """One run of one side of a pair; of the calls that count, so without the warm-up."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seconds: float
    answered: int
    """Calls with a right answer."""
    useful_tokens: int
    """Of those calls; padding is nobody's use. Where text is written: new tokens, shared out by time."""
    in_time: int
    """Those within the deadline; all, where there is none."""
    errors: dict[str, int] = {}
    """Calls without an answer, by kind."""
    wrong: int = 0
    """Calls with an answer that is not right."""
    max_error: float = 0.0
    min_cosine: float = 1.0
    latencies: str = ""
    """HdrHistogram of the right answers, in microseconds; empty where no single request was timed."""
    refusals: str = ""
    """HdrHistogram of the calls that the server refused, in microseconds from when each was meant to leave."""
    first_tokens: str = ""
    """HdrHistogram of the times to the first token, in microseconds from when each call was meant to leave; streams
    only."""
    compared: Compared | None = None
    """None: no text was written."""
    rate: float | None = None
    """Arrivals a second in an open loop."""
    late_ms: float = 0.0
    """How late the generator itself was, at the 99th percentile of its sends; open loop only."""
    cpu_s: dict[str, float] = {}
    """Processor time in the whole run: of the server with its children, of the client, of the server that rests."""

    @property
    def sound(self) -> bool:
        """Whether every call was answered, and right."""
        return not self.errors and not self.wrong

    def figure(self, name: Figure) -> float:
        """A figure, from the raw counts; infinite where a latency has no answer to stand on."""
        return _FIGURES[name](self)


_FIGURES: Mapping[Figure, Callable[[Measured], float]] = {
    "tokens_per_s": lambda run: run.useful_tokens / run.seconds,
    "requests_per_s": lambda run: run.answered / run.seconds,
    "in_time_per_s": lambda run: run.in_time / run.seconds,
    "p50_ms": lambda run: percentile_ms(run.latencies, 50) if run.answered else float("inf"),
    "p99_ms": lambda run: percentile_ms(run.latencies, 99) if run.answered else float("inf"),
    "first_p99_ms": lambda run: percentile_ms(run.first_tokens, 99) if run.first_tokens else float("inf"),
}


def measure(
    records: Records,
    schedule: Schedule,
    phase: Phase,
    lengths: Sequence[int],
    read: Read,
    reference: Sequence[Vector],
    tolerance: Tolerance,
    *,
    deadline_s: float | None = None,
    cpu_s: Mapping[str, float] | None = None,
) -> Measured:
    """Counts the calls after the warm-up: those that ended there (closed loop) or were meant to leave there (open).

    Every one is checked. A call that was given up counts where it ended or would have left, like any other.
    """
    calls = records.calls
    closed = isinstance(schedule, Closed)
    times = calls["done_s"] if closed else calls["intended_s"]
    counted = (times >= phase.warm_up_s) & (times < phase.end_s)
    verdict = judge(records, counted, read, reference, tolerance)
    right = calls[verdict.right]
    refused = calls[counted & (calls["outcome"] == Outcome.REFUSED) & (calls["status"] == RESOURCE_EXHAUSTED)]
    latencies = latencies_s(right)
    lateness = (calls["sent_s"] - calls["intended_s"])[counted & np.isfinite(calls["sent_s"])]
    return Measured(
        seconds=phase.measured_s,
        answered=len(right),
        useful_tokens=int(np.asarray(lengths)[right["request"]].sum()) if len(right) else 0,
        in_time=len(right) if deadline_s is None else int((latencies <= deadline_s).sum()),
        errors=verdict.errors,
        wrong=verdict.wrong,
        max_error=verdict.max_error,
        min_cosine=verdict.min_cosine,
        latencies=encode(latencies),
        refusals=encode(latencies_s(refused)) if len(refused) else "",
        rate=None if isinstance(schedule, Closed) else schedule.rate,
        late_ms=0.0 if closed or not len(lateness) else float(np.percentile(lateness, 99)) * 1e3,
        cpu_s={"client": records.cpu_s, **(cpu_s or {})},
    )
