"""Measures a suite cell by cell; what is finished is kept, so that a run that was cut short goes on where it was."""

import hashlib
import json
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic import ValidationError

from benchmarks.load.drive import LoadFailed
from benchmarks.load.measured import Measured
from benchmarks.load.requests import RequestList, request_list
from benchmarks.load.schedule import Closed, Open, Phase, Schedule
from benchmarks.load.verdict import TOLERANCES
from benchmarks.measure.environment import environment, now
from benchmarks.measure.interleave import interleaved, order
from benchmarks.measure.ratio import median
from benchmarks.peers.catalogue import ECHO, Arm
from benchmarks.peers.target import EmbeddingJob, Job, Target
from benchmarks.peers.writing_requests import WRITERS
from benchmarks.report.results import (
    Ceiling,
    CellResult,
    HeadlineResult,
    Pair,
    Results,
    cell_ratio,
    headline_ratio,
)
from benchmarks.shapes.publish import NOOP, SHAPES, graph_of
from benchmarks.suites.cell import BestOf, Cell, Headline, Load, Suite
from benchmarks.suites.reference import reference
from benchmarks.suites.running import CannotRun, Running
from benchmarks.suites.writing_job import writing_job

NOOP_VOCABULARY = 30522
CEILING_PHASE = Phase(warm_up_s=0.3, measured_s=1.0)


@dataclass
class Bench:
    """One run of a suite."""

    suite: Suite
    cache: Path
    make: Callable[[Arm, RequestList], Target]
    """Makes the target of an arm, which is started when its cell comes."""
    pairs: int
    phase: Phase
    quick: bool = False
    tell: Callable[[str], None] = print
    _unavailable: dict[str, str] = field(default_factory=dict)
    _done: dict[str, CellResult] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._about = environment()
        self._running = Running(self.make)

    def run(self, chosen: Collection[str], *, fresh: bool = False) -> Results:
        """Measures the chosen cells; with `fresh`, those too that an earlier run has finished."""
        try:
            for cell in self.suite.cells:
                if cell.id not in chosen:
                    continue
                kept = None if fresh else self._kept(cell)
                found = kept or self._try(cell)
                if found is not None:
                    self._done[cell.id] = found
                    self.tell(f"{cell.id}: {_told(found)}{' (kept from before)' if kept else ''}")
            ceiling = self._ceiling()
        finally:
            self._running.keep(())
        cells = tuple(self._done[cell.id] for cell in self.suite.cells if cell.id in self._done)
        return Results(
            suite=self.suite.name,
            quick=self.quick,
            environment=self._about,
            peers=dict(self.suite.peers),
            seed=self.suite.seed,
            requests=self.suite.requests,
            ceiling=ceiling,
            unavailable=self._unavailable,
            cells=cells,
            ratios={
                headline.id: headline_ratio(_written(headline), cells)
                for headline in self.suite.headlines
                if set(headline.cells) & set(chosen)
            },
        )

    def _try(self, cell: Cell) -> CellResult | None:
        """The cell, or None where a side is unavailable: the reason is then kept for the results."""
        try:
            found = self._measure(cell)
        except CannotRun as error:
            self._unavailable[cell.id] = str(error)
            self.tell(f"{cell.id}: not measured: {error}")
            return None
        self._state(cell).parent.mkdir(parents=True, exist_ok=True)
        self._state(cell).write_text(found.model_dump_json(), encoding="utf-8")
        return found

    def _measure(self, cell: Cell) -> CellResult:
        a, b = cell.a, self._resolve(cell.b)
        phase = self.phase if cell.phase is None or self.quick else cell.phase
        schedules = self._schedule(cell.load), self._schedule(cell.load_of_b or cell.load)
        jobs = [self._job(cell, arm, schedule, phase) for arm, schedule in zip((a, b), schedules, strict=True)]
        self._running.keep((a, b))
        left, right = (self._running.target(arm, job.requests) for arm, job in zip((a, b), jobs, strict=True))
        try:
            of_left, of_right = (self._of_pairs(job) for job in jobs)
            runs = interleaved(
                lambda: _beside(left, right, next(of_left)), lambda: _beside(right, left, next(of_right)), self.pairs
            )
        except LoadFailed as error:
            self._running.keep(())  # One of them may be gone: the next cell starts them anew.
            raise CannotRun(str(error)) from error
        sequence = order(self.pairs)
        result = CellResult(
            id=cell.id,
            a=a.id,
            b=b.id,
            mix=cell.mix,
            figure=cell.figure,
            load_a=_words(schedules[0]),
            load_b=_words(schedules[1]),
            may_refuse=cell.deadline_s is not None,
            measured_at=now(),
            pairs=tuple(
                Pair(order=sequence[2 * index : 2 * index + 2], a=one, b=other)
                for index, (one, other) in enumerate(runs)
            ),
            ratio=None,
        )
        return result.model_copy(update={"ratio": cell_ratio(result)})

    def _job(self, cell: Cell, arm: Arm, schedule: Schedule, phase: Phase) -> Job:
        if arm.shape in WRITERS:
            return writing_job(arm, schedule, phase, self.suite, self.cache)
        requests = self._requests(arm.shape, cell.mix)
        expected = reference(arm.shape, graph_of(arm.shape, self.cache), requests, self.cache)
        tolerance = TOLERANCES[arm.precision]
        return EmbeddingJob(
            requests=requests,
            reference=expected,
            tolerance=tolerance,
            schedule=schedule,
            phase=phase,
            seed=self.suite.seed,
            deadline_s=cell.deadline_s,
        )

    def _of_pairs(self, job: Job) -> Iterator[Job]:
        """Both sides of a pair get the same arrivals, and each pair others: a tail is not that of one lucky draw."""
        return (replace(job, seed=self.suite.seed + pair) for pair in range(self.pairs))

    def _requests(self, shape: str, mix: str) -> RequestList:
        vocabulary = NOOP_VOCABULARY if shape == NOOP else SHAPES[shape].vocab_size
        return request_list(mix, self.suite.requests, vocabulary, self.suite.seed)

    def _resolve(self, arm: Arm | BestOf) -> Arm:
        if isinstance(arm, Arm):
            return arm
        measured = {
            name: cell.ratio.value
            for name in arm.cells
            if (cell := self._done.get(name)) is not None and cell.sound and cell.ratio is not None
        }
        if not measured:
            raise CannotRun("none of the cells that would say which is the best was measured")
        best = min(measured, key=lambda name: measured[name])
        named = next(cell for cell in self.suite.cells if cell.id == best).b
        assert isinstance(named, Arm)
        return named

    def _schedule(self, load: Load) -> Schedule:
        if isinstance(load, Closed):
            return load
        sides = [
            median([pair[load.side == "b"] / load.of_each for pair in cell.figures(load.figure)])
            for name in load.cells
            if (cell := self._done.get(name)) is not None and cell.sound
        ]
        if not sides or max(sides) <= 0:
            raise CannotRun("no cell was measured that would say what the capacity is")
        return Open(rate=load.share * max(sides))

    def _ceiling(self) -> Ceiling | None:
        """What the client itself can do, from one run against the bare echo."""
        arm = Arm(ECHO, "bare", NOOP)
        cell = Cell("ceiling", arm, arm, Closed(32))
        job = self._job(cell, arm, Closed(32), CEILING_PHASE)
        self._running.keep((arm,))
        try:
            run = self._running.target(arm, job.requests).measure(job)
        except (CannotRun, LoadFailed) as error:
            self.tell(f"the load generator's ceiling was not measured: {error}")
            return None
        each = run.cpu_s["client"] / max(1.0, run.figure("requests_per_s") * CEILING_PHASE.end_s)
        return Ceiling(
            requests_per_s=run.figure("requests_per_s"),
            client_cpu_us_per_request=each * 1e6,
            requests_per_s_of_one_core=1.0 / each,
        )

    def _state(self, cell: Cell) -> Path:
        """Where a finished cell is kept; the name holds everything that it depends on but the code."""
        depends: Mapping[str, object] = {
            "cell": repr(cell),
            "phase": repr(self.phase),
            "pairs": self.pairs,
            "requests": self.suite.requests,
            "seed": self.suite.seed,
            "revision": self._about.git_revision,
        }
        digest = hashlib.sha256(json.dumps(depends).encode()).hexdigest()[:16]
        return self.cache / "state" / f"{self.suite.name}-{digest}.json"

    def _kept(self, cell: Cell) -> CellResult | None:
        path = self._state(cell)
        try:
            return CellResult.model_validate_json(path.read_bytes()) if path.exists() else None
        except ValidationError:
            return None  # Of an earlier form of the file.


def _beside(target: Target, resting: Target, job: Job) -> Measured:
    """One run, with the processor time that the other side took while it should have rested."""
    before = resting.cpu_s()
    run = target.measure(job)
    if target is resting:
        return run
    return run.model_copy(update={"cpu_s": {**run.cpu_s, "resting": max(0.0, resting.cpu_s() - before)}})


def _written(headline: Headline) -> HeadlineResult:
    return HeadlineResult(
        title=headline.title,
        rule=headline.rule,
        figure=headline.figure,
        b_over_a=headline.b_over_a,
        cells=headline.cells,
        at_least=headline.at_least,
        aim=headline.aim,
        floor=headline.floor,
        ratio=None,
    )


def _words(schedule: Schedule) -> str:
    if isinstance(schedule, Closed):
        return f"closed loop, {schedule.in_flight} in flight"
    return f"Poisson, {schedule.rate:.1f} requests/s"


def _told(cell: CellResult) -> str:
    if cell.ratio is None:
        return "a side had no answer"
    unsound = "" if cell.sound else "; NOT EVERY ANSWER WAS RIGHT"
    return f"{cell.ratio.value:.3f} ({cell.ratio.low:.3f} to {cell.ratio.high:.3f}){unsound}"
