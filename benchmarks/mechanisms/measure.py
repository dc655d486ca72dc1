"""Times each subject beside its reference and takes its memory, at each length, within bounds."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log
from pathlib import Path
from typing import get_args

from torch import nn

from benchmarks.measure.interleave import LEAST_PAIRS, interleaved
from benchmarks.mechanisms import runs
from benchmarks.mechanisms.memory import process_peaks, tensor_peak
from benchmarks.mechanisms.results import LeftOut, Peak, Results, Timing
from benchmarks.mechanisms.runs import Kind, Run, timed
from benchmarks.mechanisms.subjects import Subject, subject
from models.attention.catalogue import Scale
from server.runtime.session import Session

RUN_LIMIT_S = 0.6
"""What is expected to take longer, once, is left out."""
PEAK_LIMIT_BYTES = 3 * 1024**3
OVERRUN = 3
"""How many times the limit a first run may take before the expectation counts as wrong, and the point is left out."""
WARM_UP_RUNS = 3

Points = Mapping[int, float]


@dataclass(frozen=True)
class Prepared:
    """A subject ready to run: its module, and its graph in a session of one thread."""

    module: nn.Module
    session: Session
    names: list[str]
    graph: Path

    def run(self, of: Subject, kind: Kind, length: int, scale: Scale) -> Run:
        """A run of the kind, on one row of this length."""
        inputs = of.inputs(length, scale)
        if kind == "onnx":
            return runs.onnx(self.session, self.names, inputs)
        return (runs.training if kind == "training" else runs.forward)(self.module, inputs)


class Bench:
    """Measures subject after subject into `results`; references first, because the others are timed beside them."""

    def __init__(
        self,
        results: Results,
        scale: Scale,
        scratch: Path,
        *,
        point_s: float,
        max_pairs: int,
        limit_s: float,
    ) -> None:
        self.results = results
        self.scale = scale
        self.scratch = scratch
        self.point_s = point_s
        self.max_pairs = max_pairs
        self.deadline = time.monotonic() + limit_s
        self._prepared: dict[str, Prepared] = {}

    def measure(self, one: Subject, lengths: Sequence[int]) -> None:
        """Times and peaks of one subject, at each of the lengths, in each way of running."""
        for kind in get_args(Kind):
            for length in lengths:
                reason = self._excess(one, kind, length) or self._measure(one, kind, length)
                if reason:
                    self.results.left_out.append(LeftOut(one.name, kind, length, reason))
        self._process_peaks(one)

    def prepare(self, one: Subject) -> Prepared:
        """Builds and exports a subject, the first time that it is asked for."""
        if one.name not in self._prepared:
            graph = self.scratch / f"{len(self._prepared)}.onnx"
            names = runs.export(one, self.scale, graph)
            session = Session.open(graph)
            self._prepared[one.name] = Prepared(one.build(self.scale), session, names, graph)
        return self._prepared[one.name]

    def _measure(self, one: Subject, kind: Kind, length: int) -> str | None:
        """Measures one point, or says why it was left out after its first run."""
        run = self.prepare(one).run(one, kind, length, self.scale)
        first_s = timed(run)
        if first_s > OVERRUN * RUN_LIMIT_S:
            return f"one run took {first_s:.1f} s"
        reference = subject(one.reference)
        beside = None
        if one.name == reference.name or self.results.timing(reference.name, kind, length) is not None:
            beside = self.prepare(reference).run(reference, kind, length, self.scale)
        self.results.timings.append(self._time(one, kind, length, run, beside))
        if kind != "onnx":
            self.results.peaks.append(Peak(one.name, kind, length, tensor_peak(run)))
        return None

    def _time(self, one: Subject, kind: Kind, length: int, run: Run, beside: Run | None) -> Timing:
        other = run if beside is None else beside
        spent_s = 0.0
        for _ in range(WARM_UP_RUNS):
            pair_s = timed(run) + timed(other)
            spent_s += pair_s
            if spent_s > self.point_s:
                break
        count = int(min(max(self.point_s / pair_s, LEAST_PAIRS), self.max_pairs))
        pairs = interleaved(lambda: seconds(run), lambda: seconds(other), count)
        own, others = [own for own, _ in pairs], [other for _, other in pairs]
        if beside is None:
            own, others = own + others, []
        return Timing(one.name, one.reference, kind, length, own, others)

    def _process_peaks(self, one: Subject) -> None:
        """Peaks of the graph, at the lengths at which it was timed."""
        lengths = [t.length for t in self.results.timings if t.mechanism == one.name and t.kind == "onnx"]
        if not lengths:
            return
        prepared = self.prepare(one)
        peaks = process_peaks(prepared.graph, prepared.names, [one.inputs(length, self.scale) for length in lengths])
        for length, size_bytes in zip(lengths, peaks, strict=True):
            if size_bytes is None:
                self.results.left_out.append(LeftOut(one.name, "onnx", length, "the system does not tell the peak"))
            else:
                self.results.peaks.append(Peak(one.name, "onnx", length, size_bytes))

    def _excess(self, one: Subject, kind: Kind, length: int) -> str | None:
        """Why this point would take too much, by how the shorter ones grew."""
        if time.monotonic() > self.deadline:
            return "the time was up"
        if any((left.mechanism, left.kind) == (one.name, kind) for left in self.results.left_out):
            return "a shorter input was left out"
        times = {t.length: t.median_s for t in self.results.timings if (t.mechanism, t.kind) == (one.name, kind)}
        peaks = {p.length: p.size_bytes for p in self.results.peaks if (p.mechanism, p.kind) == (one.name, kind)}
        expected_s, expected_bytes = expected(times, length), expected(peaks, length)
        if expected_s > RUN_LIMIT_S:
            return f"one run would take about {expected_s:.1f} s"
        if expected_bytes > PEAK_LIMIT_BYTES:
            return f"one run would take about {expected_bytes / 1024**3:.1f} GiB"
        return None


def seconds(run: Run) -> float:
    """Seconds of one run, to a tenth of a microsecond; no clock tells them finer."""
    return round(timed(run), 7)


def expected(points: Points, length: int) -> float:
    """What a point at `length` should measure: as the last two grew, between linear and quadratic; with one, quadratic.

    With no point to go by, nothing.
    """
    if not points:
        return 0.0
    *before, last = sorted(points)
    exponent = 2.0
    if before and points[before[-1]] > 0:
        growth = log(max(points[last], 1e-12) / points[before[-1]]) / log(last / before[-1])
        exponent = min(max(growth, 1.0), 2.0)
    return points[last] * float((length / last) ** exponent)
