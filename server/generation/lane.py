"""One model version, in one precision, as the scheduler sees it: who waits, what runs next, who is told.

Between two decoding steps requests leave, join, and have a part of their prompts read, so that no stream stands still
for long; a step runs all rows that are live. While a run goes on, the lane only notes what arrives.
"""

import asyncio
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from server.batching.cost import Cost, Work
from server.batching.policy import PREDICTION_MARGIN
from server.batching.queue import RequestQueue
from server.batching.scheduler import Scheduler
from server.batching.source import OwnRun
from server.clock import Clock
from server.errors import (
    DeadlineExpired,
    DeadlineUnreachable,
    InferenceFailed,
    ModelNotReady,
    ParameterInvalid,
    ReaderTooSlow,
    SequenceTooLong,
    ServeError,
)
from server.generation.delivery import Delivery
from server.generation.encoding import Encoder, Start
from server.generation.observer import GenerationObserver, GenerationState, RunKind
from server.generation.request import GenerationRequest
from server.generation.running import Ran, RunningBatch
from server.generation.telling import Telling
from server.settings import GenerationSettings

log = logging.getLogger(__name__)

JOIN_PATIENCE = 6.0
"""How many times as long as its source takes to encode alone a request may wait for others to join with."""
MEAN_WEIGHT = 0.05
"""Of the latest generation, in what a lane remembers of their lengths."""


@dataclass(slots=True, eq=False)
class Costs:
    """What the lane's runs are predicted to take, in seconds."""

    encode: Cost
    read: Cost
    step: Cost


class GenerationLane:
    """Makes the runs of one running batch, one at a time; a `RunSource` of the scheduler."""

    def __init__(
        self,
        *,
        model: str,
        version: int,
        precision: str,
        batch: RunningBatch,
        encoder: Encoder | None,
        costs: Costs,
        threads: int,
        max_rows: int,
        settings: GenerationSettings,
        delivery: Delivery,
        scheduler: Scheduler,
        clock: Clock,
        observer: GenerationObserver,
    ) -> None:
        self.model = model
        self.version = version
        self.precision = precision
        self.threads = threads
        self.served_s = 0.0
        self.costs = costs
        self._batch = batch
        self._encoder = encoder
        self._max_rows = max_rows
        self._settings = settings
        self._delivery = delivery
        self._scheduler = scheduler
        self._clock = clock
        self._telling = Telling(model, version, precision, observer)
        self.queue: RequestQueue[GenerationRequest] = RequestQueue(settings.max_waiting)
        self._joining: list[GenerationRequest] = []
        """Taken from the queue by the run that goes on."""
        self._reading: list[GenerationRequest] = []
        """Live, with prompts that are read by parts, in their order."""
        self._watched: dict[GenerationRequest, None] = {}
        """Live, and something has to be done about them after each step."""
        self._unbegun: dict[GenerationRequest, None] = {}
        """Live, and without a first token."""
        self._paused: dict[GenerationRequest, None] = {}
        self._interrupted = False
        """Something arrived or left: the run that goes on ends after its step."""
        self._dead = False
        """A live request has been answered with an error."""
        self._read_last = False
        self._sealed = False
        """Static batching: nothing joins until the batch is empty."""
        self._join_at = math.inf
        """When those who wait have waited long enough for others to join with; never, where nobody does."""
        self._blocked = False
        """Whoever is first of those who wait has no room until somebody leaves."""
        self._untold: dict[GenerationRequest, None] = {}
        """Finished, and out of their slots; their callers are about to be told."""
        self._mean_steps = 0.0
        self._closed = False
        self._idle: asyncio.Event | None = None

    # --- what others ask ----------------------------------------------------------------------------------------------

    @property
    def run_s(self) -> float:
        """What the next run is predicted to take."""
        return self.costs.step.seconds(self._step_work(max(1, self._batch.rows.count)))

    @property
    def busy(self) -> bool:
        """Whether anything waits, is live, or has not been told."""
        return bool(len(self.queue) or self._joining or self._batch.requests or self._untold)

    def state(self) -> GenerationState:
        """How the lane stands, for metrics; from any thread."""
        slots = self._batch.slots
        return GenerationState(
            model=self.model,
            version=self.version,
            slots_used=self._batch.rows.count,
            slots=self._max_rows,
            state_bytes=slots.state_bytes,
            state_capacity_bytes=self._settings.max_state_bytes,
            waiting=len(self.queue) + sum(not request.live for request in tuple(self._joining)),
            waiting_capacity=self.queue.capacity_rows,
            paused=sum(len(request.live) for request in tuple(self._paused)),
        )

    async def close(self) -> None:
        """Takes no further requests, and returns once all that it has taken are answered."""
        self._closed = True
        while self.busy:
            self._idle = asyncio.Event()
            await self._idle.wait()

    # --- in and out ---------------------------------------------------------------------------------------------------

    def submit(self, request: GenerationRequest) -> None:
        """Queues a request, whose reply will be set.

        Raises ModelNotReady where the version is being unloaded, ParameterInvalid for more beams than may ever run,
        SequenceTooLong where its states could never be held, QueueFull, DeadlineUnreachable.
        """
        if self._closed:
            raise ModelNotReady(f"{self.model} version {self.version} has been unloaded")
        self._check_states(request)
        request.alone_s = self._alone_s(request)
        if len(self.queue):
            self._expire()
        self._check_deadline(request)
        self.queue.push(request)
        if not request.quiet:
            self._delivery.prepare(request)
        # The run that goes on ends for this one when it has waited long enough for company, and not at once.
        self._blocked = False
        self._join_at = min(self._join_at, self._due_at())
        self._scheduler.wake(self)

    def withdraw(self, request: GenerationRequest, error: ServeError) -> None:
        """Takes a request back, which fails with `error`; its rows are free before the next step."""
        if request.finish is not None or not request.fail(error):
            return
        if self.queue.remove(request):
            self._telling.left(request)
            self._rest()
        else:
            self._dead = True
        self._wake()

    def resume(self, request: GenerationRequest) -> None:
        """Its reader has caught up."""
        if request.paused_at is not None:
            request.paused_at = None
            self._wake()

    def _wake(self) -> None:
        self._interrupted = True
        self._scheduler.wake(self)

    def _check_states(self, request: GenerationRequest) -> None:
        most = min(self._max_rows, self.queue.capacity_rows)
        if request.rows > most:
            alone = "rows of this version do not share runs" if self._max_rows == 1 else "the settings allow no more"
            raise ParameterInvalid(
                f"num_beams is {request.rows}, and each beam takes a row; at most {most} are run here: {alone}",
                {"parameter": "num_beams", "max_rows": str(most)},
            )
        if not self._batch.slots.could_hold(request.rows, self._batch.lengths_of([request])):
            raise SequenceTooLong(
                f"the states of {request.rows} rows of {request.positions} positions are more than this server holds: "
                "ask for fewer new tokens, or fewer beams",
                {"rows": str(request.rows), "positions": str(request.positions)},
            )

    def _check_deadline(self, request: GenerationRequest) -> None:
        if request.deadline is None:
            return
        left = request.deadline - self._clock.now()
        needed = self._wait_s() + request.alone_s
        if needed * PREDICTION_MARGIN > left:
            raise DeadlineUnreachable(
                f"the first token is predicted to take {needed:.3f} s, the deadline leaves {max(0.0, left):.3f} s",
                {"retry_after_s": f"{max(0.0, needed * PREDICTION_MARGIN - left):.3f}"},
            )

    def _wait_s(self) -> float:
        """Until a request that came now would have a slot: those before it leave one after another."""
        ahead = self.queue.rows + self._batch.rows.count + 1 - self._max_rows
        if ahead <= 0:
            return 0.0
        return self._mean_steps * self.run_s * ahead / self._max_rows

    def _alone_s(self, request: GenerationRequest) -> float:
        step = self.costs.step.seconds(self._step_work(request.rows))
        if self._encoder is not None and request.encoded is not None:
            return self.costs.encode.seconds(self._encoder.work([request.encoded])) + step * len(request.feed)
        if self._batch.spec.max_new > 1:
            return self.costs.read.seconds(_read_work(len(request.feed), 0)) + step
        return step * len(request.feed)

    def _expire(self) -> None:
        expired = self.queue.expire(self._clock.now())
        for request in expired:
            if request.fail(DeadlineExpired("the deadline passed while the request waited for a slot")):
                self._telling.left(request)
        if expired:
            self._rest()

    # --- the next run -------------------------------------------------------------------------------------------------

    def next_run(self, now: float) -> OwnRun | None:
        """As `RunSource.next_run`: reading for those who join, and steps for those who are live, by turns."""
        self._interrupted = self._blocked = False
        self._expire()
        self._drop_dead()
        self._apply_pauses()
        self._join_at = self._due_at()
        steppable = self._batch.steppable
        if not (self._read_last and steppable) or self._settings.static:
            run = self._reading_run(now)
            if run is not None:
                self._read_last = True
                return run
        self._read_last = False
        steppable = self._batch.steppable  # whoever needs no reading has joined without a run
        if not steppable:
            return None if not self._reading else self._prefill_run()
        self._sealed = self._settings.static
        return self._step_run()

    def _reading_run(self, now: float) -> OwnRun | None:
        if self._reading:
            return self._prefill_run()
        if self._sealed and self._batch.requests:
            self._blocked = True
            return None
        self._sealed = False
        if now < self._join_at and self._batch.steppable:
            return None
        group = self._admit(now)
        self._join_at = self._due_at()
        if not group:
            self._blocked = True
            return None
        if self._encoder is not None:
            return self._encode_run(self._encoder, group, now)
        for request in group:
            self._join(request, {}, now)
        self._note_joined(group)
        self._let_failed_go()
        return self._prefill_run() if self._reading else None

    def _due_at(self) -> float:
        """Until when those who wait may gather while others are stepped; never, where nobody waits.

        Sources that are encoded together cost little more than one, which would hold up everybody who is live.
        """
        if not len(self.queue):
            return math.inf
        oldest = self.queue.oldest()
        if self._encoder is None or oldest.encoded is None or self.queue.tokens >= self._settings.prefill_tokens:
            return 0.0
        alone = self.costs.encode.seconds(self._encoder.work([oldest.encoded]))
        return oldest.enqueued_at + JOIN_PATIENCE * alone

    def _admit(self, now: float) -> list[GenerationRequest]:
        """Takes those out of the queue who join now: as many as have room, and can be read in one run."""
        group: list[GenerationRequest] = []
        rows, longest = self._batch.rows.count, 0
        while len(self.queue):
            head = self.queue.head(now, self._scheduler.max_age_s)
            longest = max(longest, head.tokens)
            if rows + head.rows > self._max_rows:
                break
            if group and longest * (len(group) + 1) > self._settings.prefill_tokens and not self._settings.static:
                break
            if group and self._encoder is None and len(head.feed) > 1:
                break
            if not self._batch.slots.room_for(
                rows + head.rows - self._batch.rows.count, self._batch.lengths_of([*group, head])
            ):
                break
            self.queue.remove(head)
            group.append(head)
            rows += head.rows
        return group

    def _encode_run(self, encoder: Encoder, group: list[GenerationRequest], now: float) -> OwnRun:
        self._joining = group
        sources = [request.encoded for request in group if request.encoded is not None]
        work = encoder.work(sources)
        predicted = self.costs.encode.seconds(work)

        def run() -> None:
            begin = self._clock.now()
            encoded = encoder.encode(sources)
            seconds = self._clock.now() - begin
            self._batch.seconds += seconds
            failed = any(one.error is not None for one in encoded)
            if not failed:
                self.costs.encode.observe(work, seconds)
            tokens = sum(source.tokens for source in sources)
            self._telling.note(RunKind.ENCODE, Ran(len(group), tokens, 0, seconds, failed=failed), predicted)
            for request, one in zip(group, encoded, strict=True):
                if request.dead:
                    continue
                if one.error is not None:
                    self._batch.give_up(request, one.error)
                else:
                    self._join(request, one.start, now)
                    request.begun_s -= seconds

        return OwnRun(predicted, run, self._done, self._failed)

    def _join(self, request: GenerationRequest, start: Start, now: float) -> None:
        request.joined_at = now
        request.begun_s, request.begun_steps = self._batch.seconds, self._batch.stepped
        try:
            self._batch.join(request, start)
        except Exception as error:  # what does not fit its states must not take the others with it
            self._batch.give_up(request, error)
            return
        self._unbegun[request] = None
        if self._batch.reads(request):
            self._reading.append(request)
        if not request.quiet:
            self._watched[request] = None

    def _prefill_run(self) -> OwnRun:
        """A part of one prompt, as long as may hold up those who are live; in as many runs of the graph as it takes."""
        request, most = self._reading[0], self._settings.prefill_tokens
        size = min(most, len(request.feed) - request.fed)
        predicted = self.costs.read.seconds(_read_work(size, request.fed))

        def run() -> None:
            left = most
            while left > 0:
                held = request.fed
                ran = self._batch.read(request, left)
                work = _read_work(ran.tokens, held)
                if not ran.failed:
                    self.costs.read.observe(work, ran.seconds)
                self._telling.note(RunKind.PREFILL, ran, self.costs.read.seconds(work))
                left -= ran.tokens
                if ran.failed or request.fed == len(request.feed):
                    self._reading.remove(request)
                    return

        return OwnRun(predicted, run, self._done, self._failed)

    def _step_run(self) -> OwnRun:
        batch = self._batch
        maps = tuple(dict.fromkeys(name for request in self._watched for name in request.maps if request.live))
        predicted = self.run_s
        alone = not self._watched and not self._reading
        loop = asyncio.get_running_loop()

        def run() -> None:
            begin = self._clock.now()
            while True:
                work = self._step_work(batch.rows.count)
                expected = self.costs.step.seconds(work)
                ran = batch.step(maps)
                if not ran.failed and not maps:
                    self.costs.step.observe(work, ran.seconds)
                self._telling.note(RunKind.STEP, ran, expected)
                now = self._clock.now()
                if not alone or self._interrupted or batch.failed or self._scheduler.contended:
                    return
                if now - begin > self._settings.turn_s or (batch.finished and self._settings.static):
                    return
                parted = bool(batch.finished)
                if parted:
                    loop.call_soon_threadsafe(self._part(now))
                if not batch.steppable or (now >= self._join_at and (parted or not self._blocked)):
                    return

        return OwnRun(predicted, run, self._done, self._failed)

    def _step_work(self, rows: int) -> Work:
        held = int(self._batch.rows.lengths[: self._batch.rows.count].sum())
        return Work(rows, rows, held)

    # --- after a run, on the event loop -------------------------------------------------------------------------------

    def _done(self) -> Callable[[], None] | None:
        """Lets those go who are done, so that the next run can begin; returns what can be told while it computes."""
        now = self._clock.now()
        joining, self._joining = self._joining, []
        self._note_joined(joining)
        self._watch()
        self._let_failed_go()
        return self._part(now)

    def _part(self, now: float) -> Callable[[], None]:
        """Lets those go who are done; returns what tells of them, and of what else is new, on the event loop.

        Called there between two runs, or by a run that goes on without them.
        """
        begun = self._begun()
        finished = [request for request in self._batch.finished if not request.dead]
        told = [(request, self._delivery.increment(request)) for request in self._watched if not request.dead]
        self._untold.update(dict.fromkeys(finished))
        for request in finished:
            self._finish(request)
        for request in self._batch.finished:
            if request.dead:
                self._batch.rest(request, True)  # it leaves before the next run, and must not be stepped until then
        self._batch.finished.clear()
        records = self._telling.taken()

        def tell() -> None:
            self._telling.ran(records)
            for request in begun:
                self._telling.begun(request)
            for request, telling in told:
                self._tell(request, telling)
            for request in finished:
                self._tell(request, partial(self._delivery.result, request))
                self._untold.pop(request, None)
                self._telling.finished(request)
            self._note_pauses(now)
            self._rest()

        return tell

    def _note_joined(self, joining: Sequence[GenerationRequest]) -> None:
        """Tells of those who have joined, and of those who were not let in because nobody waits for them any more."""
        failed = [request for request, _ in self._batch.failed]
        for request in joining:
            if request in self._batch.requests:
                self._telling.joined(request)
            elif request not in failed:
                self._telling.left(request)

    def _watch(self) -> None:
        """Finds those whose stop string has come."""
        for request in self._watched:
            try:
                self._delivery.watch(request)
            except Exception as error:
                self._batch.give_up(request, error)
            if request.finish is not None and request not in self._batch.finished:
                self._batch.finished.append(request)

    def _let_failed_go(self) -> None:
        for request, error in dict(self._batch.failed).items():
            request.fail(error)
            self._leave(request)
        self._batch.failed.clear()
        self._rest()

    def _tell(self, request: GenerationRequest, telling: Callable[[], None]) -> None:
        """What cannot be told of one must not keep the others from being told."""
        try:
            telling()
        except Exception as error:
            log.error("a text could not be told", exc_info=error, extra={"request": request.request_id})
            request.fail(InferenceFailed("what was written could not be made into text"))
            self._dead = True
            self._wake()

    def _begun(self) -> list[GenerationRequest]:
        """Those whose first token came in this run."""
        begun = [request for request in self._unbegun if request.first_at is not None]
        for request in begun:
            del self._unbegun[request]
        return begun

    def _failed(self, error: BaseException) -> None:
        """A run of which nothing is known: nobody's states can be trusted any more."""
        log.error("a generation run failed as a whole", exc_info=error, extra={"model": self.model})
        failed = [request for request, _ in self._batch.failed]
        for request in dict.fromkeys([*self._joining, *failed, *self._batch.clear(), *self._untold]):
            request.fail(InferenceFailed("the run ended without an answer; the cause is in the server's log"))
            self._forget(request)
            self._telling.left(request)
        self._joining = []
        self._untold.clear()
        self._telling.taken()
        self._rest()

    def _finish(self, request: GenerationRequest) -> None:
        request.compute_s = self._batch.seconds - request.begun_s
        request.steps = self._batch.stepped - request.begun_steps
        if request.beams is None:
            request.score = float(self._batch.rows.scores[request.live[0]])
            self._mean_steps += MEAN_WEIGHT * (request.steps - self._mean_steps)
        self._forget(request)
        if self._settings.static:
            self._batch.retire(request)
        else:
            self._batch.leave(request)

    def _leave(self, request: GenerationRequest) -> None:
        """An answered request gives its rows back."""
        written = self._batch.written(request)
        self._forget(request)
        self._batch.leave(request)
        self._telling.left(request, written)

    def _forget(self, request: GenerationRequest) -> None:
        self._watched.pop(request, None)
        self._unbegun.pop(request, None)
        self._paused.pop(request, None)
        if request in self._reading:
            self._reading.remove(request)

    def _drop_dead(self) -> None:
        if not self._dead:
            return
        self._dead = False
        for request in [request for request in self._batch.requests if request.error is not None]:
            self._leave(request)
        self._rest()

    # --- slow readers -------------------------------------------------------------------------------------------------

    def _note_pauses(self, now: float) -> None:
        for request in tuple(self._watched):  # a run goes on already, and may let others join
            reader = request.reader
            if reader is not None and request.paused_at is None and reader.full and request not in self._paused:
                request.paused_at = now
                self._paused[request] = None
                self._interrupted = True
                self._telling.paused()
                asyncio.get_running_loop().call_later(self._settings.max_pause_s, self._check_pause, request, now)

    def _apply_pauses(self) -> None:
        """Rows of readers that are behind rest; those of readers that have caught up go on."""
        for request in list(self._paused):
            if request.paused_at is None:
                del self._paused[request]
                self._batch.rest(request, False)
                self._telling.resumed()
            else:
                self._batch.rest(request, True)

    def _check_pause(self, request: GenerationRequest, since: float) -> None:
        if request.paused_at == since:
            self.withdraw(
                request,
                ReaderTooSlow(
                    f"nothing was read for {self._settings.max_pause_s:g} s while the buffer was full; read faster, or "
                    "ask for the whole at once"
                ),
            )

    def _rest(self) -> None:
        if self._idle is not None and not self.busy:
            self._idle.set()


def _read_work(tokens: int, held: int) -> Work:
    """A prompt's part: each of its tokens attends to what the row holds, and to the part itself."""
    return Work(1, tokens, tokens * (held + tokens))
