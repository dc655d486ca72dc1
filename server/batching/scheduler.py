"""Gives free cores their next run: by what lanes have had, by what a batch gains, within one budget of cores.

Everything but the run itself happens on the event loop's thread, so that no state here needs a lock. A batch that
fails as a whole is run again one request at a time, so that only the guilty one fails.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from functools import partial

from server.batching.execution import Outcome, execute, nothing
from server.batching.lane import Lane
from server.batching.observer import BatchingObserver, BatchRecord
from server.batching.policy import PREDICTION_MARGIN, Batch, choose
from server.batching.request import Answer, Request, RunTiming
from server.batching.source import OwnRun, RunSource
from server.batching.variant import Variant
from server.batching.workers import Job, Workers
from server.clock import Clock
from server.errors import (
    DeadlineExpired,
    DeadlineUnreachable,
    InferenceFailed,
    ModelNotReady,
    ServeError,
)
from server.runtime.budget import CoreBudget

log = logging.getLogger(__name__)

INLINE_S = 50e-6
"""A run predicted to be shorter, with nothing waiting, is made on the event loop's thread: handing it to another would
cost as much. What takes longer is handed over, so that others can gather meanwhile."""
FAIR_SLACK_S = 0.02
"""Lanes that have had as much as this more than the least served compete by what their next batch gains."""
BREATH_S = 0.5e-3
"""So long a source's news wait where its next run is much longer: until the worker's thread is inside that run, telling
them would keep it from beginning, because both need the interpreter."""
ABSURD = 100.0
"""A run that seems to have taken so many times what was predicted counts as this much: a clock may have jumped."""
INLINE_TURN_S = 2e-3
"""After so long on runs of its own the event loop turns to its callers again."""


class Scheduler:
    """Runs the lanes' requests on `workers`, never on more cores than `budget` has."""

    def __init__(
        self,
        workers: Workers,
        budget: CoreBudget,
        clock: Clock,
        observer: BatchingObserver,
        *,
        max_age_s: float = 1.0,
        inline_s: float = INLINE_S,
        ahead: int = 0,
    ) -> None:
        """`ahead`: how many batches may be made before a core is free for them, each to run as soon as one is.

        Without one, a core idles from the end of a run until the event loop has come round to the next.
        """
        self._workers = workers
        self._budget = budget
        self._clock = clock
        self._observer = observer
        self.max_age_s = max_age_s
        self._inline_s = inline_s
        self._ahead = ahead
        self._lanes: set[Lane] = set()
        self._waiting: dict[Lane, None] = {}
        """Lanes with requests in their queues."""
        self._sources: dict[RunSource, None] = {}
        """Those that want a run; none of them is here while it has one."""
        self._running_sources: set[RunSource] = set()
        self._news: dict[RunSource, Callable[[], None]] = {}
        """What is to be told of a source's last run."""
        self._served_s = 0.0
        """What the lane served last had had: a lane that wakes starts from here, and not from what it saved up."""
        self._ends: dict[int, tuple[float, int]] = {}
        """When each run is predicted to end, and its cores, by the batch's identity."""
        self._made: deque[Batch] = deque()
        """Made ahead: the workers have them, in this order, and run one whenever a core is free."""
        self._dispatch_due = False

    @property
    def budget(self) -> CoreBudget:
        """The cores."""
        return self._budget

    def add(self, lane: Lane) -> None:
        """Starts serving a lane."""
        self._lanes.add(lane)

    async def remove(self, lane: Lane) -> None:
        """Stops serving a lane once all that it has taken is answered."""
        while lane.busy:  # again and again: a request may come between the last answer and this task's turn
            lane.idle = asyncio.Event()
            await lane.idle.wait()
        self._lanes.discard(lane)

    # --- sources of runs of their own -----------------------------------------------------------------------------

    def wake(self, source: RunSource) -> None:
        """Lets a source that had nothing to do have runs from now on; harmless where it has them."""
        if source not in self._sources and source not in self._running_sources:
            self._sources[source] = None
            source.served_s = max(source.served_s, self._served_s)
            self._dispatch_soon()

    @property
    def contended(self) -> bool:
        """Whether a lane waits for cores: a source's run should then be short."""
        return bool(self._waiting)

    # --- requests in and out --------------------------------------------------------------------------------------

    def submit(self, lane: Lane, request: Request) -> None:
        """Queues a request, whose reply will be set.

        Raises QueueFull where there is no room, DeadlineUnreachable where it is predicted to be answered too late,
        ModelNotReady where the lane is no longer served.
        """
        if lane not in self._lanes:
            raise ModelNotReady(f"{lane.model} version {lane.version} has been unloaded")
        request.alone_s, variant = lane.alone(request)
        if lane.queue.rows + request.rows > lane.queue.capacity_rows:
            self._expire(lane)
        try:
            self._check_deadline(lane, request)
            if not (self._waiting or self._sources) and self._run_now(lane, request, variant):
                return
            lane.queue.push(request)
        except ServeError as error:
            self._observer.request_dropped(lane.model, lane.version, error.reason)
            raise
        if lane not in self._waiting:
            self._waiting[lane] = None
            lane.served_s = max(lane.served_s, self._served_s)
        self._dispatch_soon()

    def _run_now(self, lane: Lane, request: Request, variant: Variant) -> bool:
        """Runs a request that costs next to nothing, without the queue; False where it must take the usual way."""
        if not self._may_be_inline(variant, request.alone_s) or not self._budget.take(1):
            return False
        lane.served_s = max(lane.served_s, self._served_s)
        work = variant.layout.work(request.rows, request.tokens, request.length)
        self._start(lane, Batch([request], variant, work, request.alone_s), request.enqueued_at)
        return True

    def _may_be_inline(self, variant: Variant, seconds: float) -> bool:
        return seconds <= self._inline_s and variant.threads == 1 and variant.foreseeable

    def withdraw(self, lane: Lane, request: Request, error: ServeError) -> None:
        """Takes a request back, which fails with `error`; a run that it does not share with others is ended."""
        waiting = lane.queue.remove(request)
        if not request.dead:
            request.reply.set_exception(error)
            request.reply.exception()  # whoever waited may have gone, and then nobody else looks at it
            self._observer.request_dropped(lane.model, lane.version, error.reason)
        elif request.reply.cancelled():
            self._observer.request_dropped(lane.model, lane.version, error.reason)
        stop = lane.stops.pop(id(request), None)
        if stop is not None:
            stop.stop()
        if waiting:
            self._rest(lane)

    def wait_s(self, lane: Lane, priority: int = 0) -> float:
        """How long a request that came now is predicted to wait for its run.

        What goes before it in its own lane counts in full, other lanes' work as far as they share the cores.
        """
        if self._budget.free and not len(lane.queue):
            return 0.0
        now = self._clock.now()
        running = sum(max(0.0, end - now) * cores for end, cores in self._ends.values())
        running += sum(batch.seconds for batch in self._made)
        own = lane.queue.ahead_s(priority) * lane.efficiency
        others = [other.queue.ahead_s() * other.efficiency for other in self._waiting if other is not lane]
        others += [source.run_s * source.threads for source in self._sources]
        shared = sum(min(own + lane.run_s, other) for other in others)
        return (running + own + shared) / self._budget.cores

    def check_wait(self, lane: Lane, deadline: float) -> None:
        """Refuses what could not be answered by `deadline` however small it were.

        Raises DeadlineUnreachable, with the time after which to try again.
        """
        wait = self.wait_s(lane)
        try:
            self._hold_against(deadline, wait + lane.run_s if wait else 0.0)
        except ServeError as error:
            self._observer.request_dropped(lane.model, lane.version, error.reason)
            raise

    def _check_deadline(self, lane: Lane, request: Request) -> None:
        if request.deadline is None:
            return
        wait = self.wait_s(lane, request.priority)
        self._hold_against(request.deadline, wait + (max(request.alone_s, lane.run_s) if wait else request.alone_s))

    def _hold_against(self, deadline: float, needed_s: float) -> None:
        left = deadline - self._clock.now()
        if needed_s * PREDICTION_MARGIN > left:
            raise DeadlineUnreachable(
                f"the answer is predicted to take {needed_s:.3f} s, the deadline leaves {max(0.0, left):.3f} s",
                {"retry_after_s": f"{max(0.0, needed_s * PREDICTION_MARGIN - left):.3f}"},
            )

    def _expire(self, lane: Lane) -> None:
        for request in lane.queue.expire(self._clock.now()):
            self._drop(lane, request, DeadlineExpired("the deadline passed while the request was in the queue"))

    def _drop(self, lane: Lane, request: Request, error: ServeError) -> None:
        """Answers a request that left the queue unserved; the cancelled are counted when their callers withdraw."""
        if not request.dead:
            request.reply.set_exception(error)
            self._observer.request_dropped(lane.model, lane.version, error.reason)

    # --- the next run ---------------------------------------------------------------------------------------------

    def _dispatch_soon(self) -> None:
        """Once for all requests that arrive in one turn of the event loop, so that they can run together."""
        if not self._dispatch_due and (self._budget.free or self._may_make_ahead()):
            self._dispatch_due = True
            asyncio.get_running_loop().call_soon(self._dispatch)

    def _dispatch(self) -> None:
        self._dispatch_due = False
        begin = now = self._clock.now()
        while (self._waiting or self._sources) and (self._budget.free or self._may_make_ahead()):
            if now - begin > INLINE_TURN_S:
                self._dispatch_soon()
                return
            source = self._next_source()
            if source is not None:
                if not self._budget.take(source.threads):
                    return  # as below; nor is a batch made ahead, which would take the core that comes free
                self._run_source(source, now)
                now = self._clock.now()
                continue
            lane = self._next_lane()
            if not self._budget.free and self._owes_a_source(lane):
                return
            self._expire(lane)
            begin_at = now if self._budget.free else self._next_end(now)
            batch = choose(lane.queue, lane.variants, lane.limits, self._budget.cores, begin_at, self.max_age_s)
            if batch is None:
                self._rest(lane)
                continue
            if not self._budget.free:
                # Whoever is left over could have joined: a batch is made ahead only where others are behind it.
                if batch.variant.threads > 1 or len(batch.requests) == len(lane.queue):
                    return
                self._take(lane, batch, begin_at)
                if batch.requests:
                    self._hand_over(lane, batch, None)
                else:
                    self._rest(lane)
            elif self._budget.take(batch.variant.threads):
                self._take(lane, batch, now)
                if batch.requests:
                    self._start(lane, batch, now)
                else:
                    self._budget.give_back(batch.variant.threads)
                self._rest(lane)
            else:
                return  # the cores that are free wait for the others: whoever needs many must not wait for ever
            now = self._clock.now()

    def _may_make_ahead(self) -> bool:
        """Whether each core has a run of its own: the next batch then takes over the core of whichever ends first."""
        return len(self._made) < self._ahead and len(self._ends) == self._budget.cores

    def _owes_a_source(self, lane: Lane) -> bool:
        """Whether a source whose run goes on is to have the core that comes free before this lane has."""
        return any(source.served_s <= lane.served_s for source in self._running_sources)

    def _next_end(self, now: float) -> float:
        """When a core is predicted to be free for a batch made ahead now."""
        ends = sorted(end for end, _ in self._ends.values())
        return max(now, ends[min(len(self._made), len(ends) - 1)])

    def _next_source(self) -> RunSource | None:
        """The source whose turn it is; None where it is a lane's."""
        if not self._sources:
            return None
        source = min(self._sources, key=lambda one: one.served_s)
        if self._waiting and min(lane.served_s for lane in self._waiting) < source.served_s:
            return None
        return source

    def _run_source(self, source: RunSource, now: float) -> None:
        """Starts a source's next run, whose cores are taken."""
        run = source.next_run(now)
        del self._sources[source]
        if run is None:
            self._budget.give_back(source.threads)
            return
        self._running_sources.add(source)
        self._ends[id(run)] = (now + run.seconds, source.threads)
        source.served_s += run.seconds * source.threads
        self._served_s = source.served_s
        loop = asyncio.get_running_loop()

        def tell(error: BaseException | None) -> None:
            loop.call_soon_threadsafe(partial(self._finish_source, source, run, now, error))

        def work() -> None:
            try:
                run.work()
            except Exception as error:
                tell(error)
            else:
                tell(None)

        died = InferenceFailed("the run ended without an answer; the cause is in the server's log")
        self._workers.submit(Job(run=work, died=lambda: tell(died)))

    def _finish_source(self, source: RunSource, run: OwnRun, started: float, error: BaseException | None) -> None:
        """Gives the cores back, lets the source see to its rows, and starts what comes next before anybody is told."""
        self._budget.give_back(source.threads)
        self._ends.pop(id(run), None)
        self._follow_up()
        spent_s = max(0.0, self._clock.now() - started)
        source.served_s += (min(spent_s, ABSURD * run.seconds) - run.seconds) * source.threads
        self._running_sources.discard(source)
        self._sources[source] = None  # without waking: what it was owed when it took its turn it is still owed
        if source in self._news:
            self._tell_news(source, self._news[source])
        after = None
        if error is None:
            try:
                after = run.done()
            except Exception as problem:  # or the source would never have another run, and its callers wait for ever
                error = problem
        if error is not None:
            run.failed(error)
        self._dispatch()
        if after is None:
            return
        self._news[source] = after
        if source in self._running_sources and source.run_s > 10 * BREATH_S:
            asyncio.get_running_loop().call_later(BREATH_S, self._tell_news, source, after)
        else:
            self._tell_news(source, after)

    def _tell_news(self, source: RunSource, news: Callable[[], None]) -> None:
        """Once, and before what comes after it."""
        if self._news.get(source) is news:
            del self._news[source]
            news()

    def _next_lane(self) -> Lane:
        least = min(lane.served_s for lane in self._waiting)
        near = [lane for lane in self._waiting if lane.served_s <= least + FAIR_SLACK_S]
        return near[0] if len(near) == 1 else max(near, key=lambda lane: (lane.gain(), -lane.served_s))

    def _take(self, lane: Lane, batch: Batch, now: float) -> None:
        """Takes a batch out of its queue; those that would be answered too late are refused in its place."""
        batch.requests, chosen = [], batch.requests
        for request in chosen:
            lane.queue.remove(request)
            if request.deadline is not None and request.deadline < now + batch.seconds:
                self._drop(lane, request, DeadlineUnreachable("the run would end past the deadline"))
            elif not request.dead:
                batch.requests.append(request)
        if batch.requests and len(batch.requests) < len(chosen):
            batch.measure()

    def _start(self, lane: Lane, batch: Batch, now: float) -> None:
        """Runs a batch whose cores are taken."""
        self._ends[id(batch)] = (now + batch.seconds, batch.variant.threads)
        if self._may_be_inline(batch.variant, batch.seconds) and not len(lane.queue):
            self._charge(lane, batch)
            self._run_here(lane, batch, now)
        else:
            self._hand_over(lane, batch, now)

    def _charge(self, lane: Lane, batch: Batch) -> None:
        lane.running += 1
        lane.served_s += batch.seconds * batch.variant.threads
        self._served_s = lane.served_s

    def _hand_over(self, lane: Lane, batch: Batch, begun: float | None) -> None:
        """Gives a batch to the workers; `begun` is None where it is made ahead, and waits there for a core."""
        self._charge(lane, batch)
        if begun is None:
            self._made.append(batch)
        stop = None
        if len(batch.requests) == 1 and batch.variant.make_stop is not None:
            stop = lane.stops[id(batch.requests[0])] = batch.variant.make_stop()
        loop = asyncio.get_running_loop()

        def tell(started: float, outcome: Outcome) -> None:
            loop.call_soon_threadsafe(partial(self._finish_and_go_on, lane, batch, started, outcome))

        def run() -> None:
            started = begun
            if started is None:
                started = self._clock.now()
                batch.leave_out_the_dead()
            tell(started, execute(lane, batch, stop, self._clock))

        self._workers.submit(Job(run=run, died=lambda: tell(self._clock.now(), nothing(batch))))

    def _run_here(self, lane: Lane, batch: Batch, now: float) -> None:
        """Runs on the event loop's thread; what would end a thread is raised, but leaves nobody without an answer."""
        try:
            outcome = execute(lane, batch, None, self._clock)
        except BaseException:
            self._finish(lane, batch, now, nothing(batch))
            self._dispatch_soon()
            raise
        self._finish(lane, batch, now, outcome)

    # --- back on the event loop -----------------------------------------------------------------------------------

    def _finish_and_go_on(self, lane: Lane, batch: Batch, started: float, outcome: Outcome) -> None:
        self._finish(lane, batch, started, outcome)
        self._dispatch()
        self._rest(lane)

    def _finish(self, lane: Lane, batch: Batch, started: float, outcome: Outcome) -> None:
        """Gives the cores back, answers everyone, learns from the run, tells the observer."""
        variant, requests = batch.variant, batch.requests
        self._budget.give_back(variant.threads)
        self._ends.pop(id(batch), None)
        lane.running -= 1
        self._follow_up()
        run_s = max(0.0, self._clock.now() - started)
        # What failed, and was then run one by one, is paid for as well.
        spent_s = (run_s if outcome.failed else outcome.cost_s) or batch.seconds
        lane.served_s += (min(spent_s, ABSURD * batch.seconds) - batch.seconds) * variant.threads
        if not outcome.failed:
            variant.cost.observe(batch.work, outcome.cost_s)
            lane.learn(requests, run_s * variant.threads, run_s)
        self._answer(lane, batch, started, outcome)
        self._observer.batch_ran(
            BatchRecord(
                model=lane.model,
                version=lane.version,
                requests=len(requests),
                rows=sum(request.rows for request in requests),
                tokens=sum(request.tokens for request in requests),
                padded_tokens=batch.work.tokens,
                queue_s=tuple([max(0.0, started - request.enqueued_at) for request in requests]),
                compute_s=outcome.compute_s,
                collate_s=outcome.collate_s,
                split_s=outcome.split_s,
                failed=outcome.failed,
                variant=variant.name,
                predicted_s=batch.seconds,
                cost_s=outcome.cost_s,
            )
        )

    def _follow_up(self) -> None:
        """A core has come free: a batch that was made ahead has it, and its worker has begun it by now."""
        while self._made and self._budget.take(self._made[0].variant.threads):
            following = self._made.popleft()
            self._ends[id(following)] = (self._clock.now() + following.seconds, following.variant.threads)

    def _answer(self, lane: Lane, batch: Batch, started: float, outcome: Outcome) -> None:
        rows = sum(request.rows for request in batch.requests)
        for request, result in zip(batch.requests, outcome.results, strict=True):
            lane.stops.pop(id(request), None)
            if request.dead:
                continue
            if isinstance(result, ServeError):
                request.reply.set_exception(result)
            else:
                waited = max(0.0, started - request.enqueued_at)
                timing = RunTiming(waited, outcome.compute_s, rows, batch.work.tokens)
                request.reply.set_result(Answer(result, timing))

    def _rest(self, lane: Lane) -> None:
        """Takes an empty lane out of the turn, and tells who waits for a lane to have nothing left."""
        if not len(lane.queue):
            self._waiting.pop(lane, None)
        if lane.idle is not None and not lane.busy:
            lane.idle.set()
