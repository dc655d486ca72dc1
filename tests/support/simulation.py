"""A simulated machine under the real scheduler: time is what the simulation says, and every run is the same again.

The event loop jumps from event to event in place of waiting. A run is computed at once, in a time of its own that a
true cost function draws from a seed; what it says to the scheduler is held back until that time has come. So several
runs go on at once without a thread, and a run that is stopped, or that a jump of the clock falls into, is made again
with that known.
"""

import asyncio
import math
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import numpy as np

from server.batching.cost import Coefficients, Cost
from server.batching.lane import Lane
from server.batching.observer import BatchRecord
from server.batching.queue import RequestQueue
from server.batching.request import Answer, Request
from server.batching.scheduler import Scheduler
from server.batching.variant import BatchLimits, Variant
from server.batching.workers import Job
from server.errors import DeadlineExpired, RequestCancelled, ServeError
from server.runtime.budget import CoreBudget
from server.tensors import Array
from tests.support.requests import make_request
from tests.support.row_sums import layout_of, run_sums, work_of
from tests.support.simulated_time import MachineClock, SimulatedLoop

ANSWERED = "ANSWERED"
BREAKS, KILLS = -666, -999
"""Ids that a run fails on, and that the thread of a run dies of."""

TYPICAL = Coefficients(fixed_s=1e-3, row_s=1e-5, token_s=4e-5, pair_s=1e-8)
"""A small encoder on one core: a row of 25 tokens by itself takes twice what it adds to a batch."""


class ThreadDeath(BaseException):
    """Ends the thread that a run is in, as no exception of a model does."""


@dataclass(eq=False)
class _Run:
    """A job in its thread."""

    job: Job
    begin: float
    threads: int = 0
    seconds: list[float] = field(default_factory=list)
    """What each call of the graph takes, as it was drawn; a batch that fails makes several."""
    calls: int = 0
    jumped_s: float = 0.0
    """How far the clock has jumped since the run began."""
    end: asyncio.TimerHandle | None = None


class SimulatedStop:
    """Ends a run: it is made once more, to the point where it was stopped."""

    def __init__(self, machine: "Machine") -> None:
        self._machine = machine
        self.stopped = False
        self.run: _Run | None = None

    def stop(self) -> None:
        self.stopped = True
        if self.run is not None:
            self._machine.cut_short(self.run)


@dataclass(eq=False)
class Call:
    """A caller's view of one request."""

    model: str
    request: Request
    asked_at: float
    ended_at: float = math.nan
    fate: str = ""
    """`ANSWERED`, or the reason of the error; empty while the caller waits."""
    answer: Answer | None = None

    @property
    def waited_s(self) -> float:
        """From asking to the reply."""
        return self.ended_at - self.asked_at


class Machine:
    """Cores, the real scheduler on them, and callers."""

    def __init__(
        self,
        cores: int = 2,
        *,
        seed: int = 0,
        noise: float = 0.0,
        max_age_s: float = 1.0,
        inline_s: float = 0.0,
        ahead: int | None = None,
    ) -> None:
        """`noise` is the standard deviation of the logarithm of a run's time; with `inline_s` 0 no run is inline.

        `ahead` batches are made before a core is free for them, as many as cores unless told otherwise.
        """
        self.clock = MachineClock()
        self.loop = SimulatedLoop(self.clock)
        self.random = Random(seed)
        self.noise = noise
        self.budget = CoreBudget(cores)
        self.scheduler = Scheduler(
            self,
            self.budget,
            self.clock,
            self,
            max_age_s=max_age_s,
            inline_s=inline_s,
            ahead=cores if ahead is None else ahead,
        )
        self._jobs: deque[Job] = deque()
        """What waits for a thread; there are as many as cores."""
        self.lanes: list[Lane] = []
        self.calls: list[Call] = []
        self.batches: list[BatchRecord] = []
        self.ran: list[tuple[str, tuple[str, ...]]] = []
        """(lane, ids of the first token of each row) of each call of a graph, in the order they began."""
        self.dropped: Counter[str] = Counter()
        self.errors: list[dict[str, Any]] = []
        """What was raised into the event loop: a reply that is set twice, for one."""
        self.most_cores = 0
        self.handed_over = 0
        """Runs that were given to a thread."""
        self.cut = 0
        """Runs that were stopped."""
        self._cores_taken = 0
        self._run: _Run | None = None
        self._in_flight: dict[_Run, None] = {}
        self._numbers = 0
        self.loop.set_exception_handler(lambda _, context: self.errors.append(context))

    def __enter__(self) -> "Machine":
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.close()

    # --- models ---------------------------------------------------------------------------------------------------

    def lane(
        self,
        name: str = "m",
        truth: Coefficients = TYPICAL,
        *,
        believed: Coefficients | None = None,
        layouts: Sequence[str] = ("rows",),
        threads: Sequence[int] = (1,),
        max_rows: int = 64,
        max_tokens: int = 1024,
        capacity: int = 100_000,
    ) -> Lane:
        """A model that costs `truth`, while the scheduler starts from `believed`; one variant a layout and threads.

        Runs on several threads take `truth` divided by their number.
        """
        variants = [
            self._variant(name, layout, truth, believed or truth, count) for layout in layouts for count in threads
        ]
        lane = Lane(name, 1, variants, BatchLimits(max_rows, max_tokens), RequestQueue(capacity))
        self.scheduler.add(lane)
        self.lanes.append(lane)
        return lane

    def _variant(self, name: str, layout: str, truth: Coefficients, believed: Coefficients, threads: int) -> Variant:
        outputs = ("echo", "sum", "moment") if layout == "rows" else ("sum", "moment")

        def run(inputs: Mapping[str, Array], wanted: Sequence[str], stop: Any) -> dict[str, Array]:
            return self._graph(name, _shared(truth, threads), threads, inputs, wanted, stop)

        return Variant(
            layout=layout_of(layout),
            precision="fp32",
            run=run,
            outputs=frozenset(outputs),
            usual_outputs=outputs,
            cost=Cost(_shared(believed, threads)),
            threads=threads,
            make_stop=lambda: SimulatedStop(self),
            counts_cpu=False,
        )

    def _graph(
        self,
        name: str,
        truth: Coefficients,
        threads: int,
        inputs: Mapping[str, Array],
        wanted: Sequence[str],
        stop: SimulatedStop | None,
    ) -> dict[str, Array]:
        run, first_time = self._run, True
        if run is None:  # on the event loop itself
            self.most_cores = max(self.most_cores, self._cores_taken + threads)
            seconds = self._draw(truth, inputs)
        else:
            run.threads = threads
            first_time = run.calls == len(run.seconds)
            if first_time:
                run.seconds.append(self._draw(truth, inputs))
            seconds = run.seconds[run.calls] + (run.jumped_s if run.calls == 0 else 0.0)
            run.calls += 1
        if first_time:
            ids = inputs["ids"]
            self.ran.append((name, tuple(ids[:, 0].tolist()) if ids.ndim == 2 else ()))
        if stop is not None:
            stop.run = run
            if stop.stopped and run is not None:
                self.clock.spend(max(0.0, self.clock.machine - self.clock.now()))
                raise RequestCancelled("the run was stopped")
        self.clock.spend(seconds)
        if (inputs["ids"] == KILLS).any():
            raise ThreadDeath
        if (inputs["ids"] == BREAKS).any():
            raise RuntimeError("the graph broke")
        return run_sums(inputs, wanted)

    def _draw(self, truth: Coefficients, inputs: Mapping[str, Array]) -> float:
        factor = math.exp(self.random.gauss(0.0, self.noise)) if self.noise else 1.0
        return truth.seconds(work_of(inputs)) * factor

    def compute(self, seconds: float, threads: int = 1) -> None:
        """A run that a source has made computes for so long, on so many cores; to be called in that run."""
        assert self._run is not None, "no run goes on"
        self._run.threads = threads
        self.clock.spend(seconds)

    # --- workers --------------------------------------------------------------------------------------------------

    def submit(self, job: Job) -> None:
        """As `Workers.submit`."""
        self.handed_over += 1
        if len(self._in_flight) >= self.budget.cores:
            self._jobs.append(job)
        else:
            self._begin(job)

    def _begin(self, job: Job) -> None:
        run = _Run(job, self.clock.now())
        said = self._make(run)
        self._in_flight[run] = None
        self._cores_taken += run.threads
        self.most_cores = max(self.most_cores, self._cores_taken)
        self._ends(run, said)

    def cut_short(self, run: _Run) -> None:
        """Makes a run again that was stopped, so that it ends now."""
        if run in self._in_flight:
            self.cut += 1
            self._ends(run, self._make(run))

    def jump(self, seconds: float) -> None:
        """The clock jumps forward, for the runs in flight as well."""
        self.clock.advance(seconds)
        for run in list(self._in_flight):
            run.jumped_s += seconds
            self._ends(run, self._make(run))

    def _make(self, run: _Run) -> tuple[float, list[Callable[[], object]]]:
        """Computes a run from its beginning: when it ends, and what it says then."""
        said: list[Callable[[], object]] = []
        self._run, self.loop.saying, run.calls = run, said, 0
        try:
            with self.clock.of_run(run.begin):
                try:
                    run.job.run()
                except ThreadDeath:
                    run.job.died()
                return self.clock.now(), said
        finally:
            self._run, self.loop.saying = None, None

    def _ends(self, run: _Run, outcome: tuple[float, list[Callable[[], object]]]) -> None:
        if run.end is not None:
            run.end.cancel()
        end, said = outcome

        def finish() -> None:
            del self._in_flight[run]
            self._cores_taken -= run.threads
            if self._jobs:
                self._begin(self._jobs.popleft())
            for callback in said:
                callback()

        run.end = self.loop.call_at(end, finish)

    # --- observer -------------------------------------------------------------------------------------------------

    def batch_ran(self, record: BatchRecord) -> None:
        """As `BatchingObserver.batch_ran`."""
        self.batches.append(record)

    def request_dropped(self, model: str, version: int, reason: str) -> None:
        """As `BatchingObserver.request_dropped`."""
        self.dropped[reason] += 1

    # --- callers --------------------------------------------------------------------------------------------------

    def at(self, seconds: float, action: Callable[..., object], *arguments: object) -> None:
        """Does something when the machine's time is `seconds`."""
        self.loop.call_at(seconds, action, *arguments)

    def ask(
        self,
        lane: Lane,
        length: int = 16,
        rows: int = 1,
        *,
        within: float | None = None,
        gives_up_after: float | None = None,
        priority: int = 0,
        outputs: Sequence[str] = ("sum",),
        first: int | None = None,
        then: Callable[["Call"], object] | None = None,
    ) -> Call:
        """A caller asks now, on the event loop, as a servable would: with a deadline, and going away if it must.

        Ids count up from `first`, by default from a number of the call's own; `then` is told when the call has ended.
        """
        now = self.clock.machine
        self._numbers += 1
        request = make_request(
            length,
            rows,
            first=1000 * self._numbers if first is None else first,
            outputs=outputs,
            priority=priority,
            enqueued_at=now,
            deadline=None if within is None else now + within,
            loop=self.loop,
        )
        call = Call(lane.model, request, now)
        self.calls.append(call)
        timers: list[asyncio.TimerHandle] = []

        def ended(reply: "asyncio.Future[Answer]") -> None:
            for timer in timers:
                timer.cancel()
            self._note(call, reply)
            if then is not None:
                then(call)

        request.reply.add_done_callback(ended)
        try:
            self.scheduler.submit(lane, request)
        except ServeError as error:
            request.reply.set_exception(error)
            return call
        if within is not None:
            expired = DeadlineExpired("too late")
            timers.append(self.loop.call_later(within, self.scheduler.withdraw, lane, request, expired))
        if gives_up_after is not None:
            timers.append(self.loop.call_later(gives_up_after, self.leave, lane, request))
        return call

    def leave(self, lane: Lane, request: Request) -> None:
        """The caller goes away."""
        if request.reply.cancel():
            self.scheduler.withdraw(lane, request, RequestCancelled("the caller has gone"))

    def _note(self, call: Call, reply: "asyncio.Future[Answer]") -> None:
        assert not call.fate, "ended twice"
        call.ended_at = self.clock.machine
        if reply.cancelled():
            call.fate = RequestCancelled.reason
        elif (error := reply.exception()) is not None:
            assert isinstance(error, ServeError)
            call.fate = error.reason
        else:
            call.fate, call.answer = ANSWERED, reply.result()
            expected = call.request.inputs["ids"].sum(axis=1, keepdims=True)
            assert np.array_equal(call.answer.outputs["sum"], expected), "another request's answer"

    def poisson(self, rate: float, until: float, ask: Callable[[], object]) -> None:
        """Asks at random times, so many a second on average, from now on."""
        when = self.clock.machine
        while (when := when + self.random.expovariate(rate)) < until:
            self.at(when, ask)

    def closed_loop(self, callers: int, until: float, ask: Callable[[Callable[[Call], object]], object]) -> None:
        """So many callers, each of whom asks again as soon as the last call has ended; `ask` gets what to do then."""

        def again(_: Call | None = None) -> None:
            if self.clock.machine < until:
                ask(again)

        for _ in range(callers):
            self.at(self.clock.machine, again)

    # --- running --------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Goes on until nothing can happen any more, and checks what must hold of every run of the machine."""
        self.loop.run_forever()
        assert not self.errors, self.errors
        assert all(call.fate for call in self.calls), "a request was lost"
        assert self.most_cores <= self.budget.cores, "more cores than there are"
        assert self.budget.free == self.budget.cores, "cores were not given back"
        assert not any(lane.busy or lane.stops for lane in self.lanes)

    def fates(self) -> Counter[str]:
        """How many calls ended how."""
        return Counter(call.fate for call in self.calls)

    def capacity(self, lane: Lane, length: Callable[[], int], seconds: float, callers: int = 64) -> float:
        """Answers a second when callers never let the lane run dry; to be asked of a machine of its own."""
        self.closed_loop(callers, seconds, lambda then: self.ask(lane, length(), then=then))
        self.run()
        return sum(call.fate == ANSWERED and call.ended_at <= seconds for call in self.calls) / seconds


def _shared(cost: Coefficients, threads: int) -> Coefficients:
    return Coefficients(*(part / threads for part in (cost.fixed_s, cost.row_s, cost.token_s, cost.pair_s)))
