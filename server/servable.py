"""One version of one model that serves: its bundle, its session, its codec, its lane in the scheduler."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager

from server.batching.admission import MAX_FILL_BYTES, Admission
from server.batching.lane import Lane
from server.batching.queue import RequestQueue
from server.batching.request import Answer, Request
from server.batching.scheduler import Scheduler
from server.batching.variant import BatchLimits
from server.clock import Clock
from server.codecs import Codec, TextCodec
from server.codecs.codec import EncodedRow, Truncation
from server.errors import (
    DeadlineExpired,
    ParameterInvalid,
    RequestCancelled,
    SignatureMismatch,
    TaskNotSupported,
)
from server.loading.loaded import LoadedVersion
from server.loading.loader import batch_limits
from server.manifest import Manifest, Precision
from server.settings import BatchingSettings
from server.telemetry.statistics import ModelStatistics
from server.tensors import Tensor

INLINE_TEXT_CHARACTERS = 2048
"""A shorter text is tokenized on the event loop: the hop to a thread would cost more than the work."""


class Servable:
    """Answers requests for one version; made by the registry on the event loop."""

    def __init__(
        self,
        loaded: LoadedVersion,
        scheduler: Scheduler,
        workers: Executor,
        clock: Clock,
        settings: BatchingSettings,
        max_fill_bytes: int = MAX_FILL_BYTES,
    ) -> None:
        """Starts serving; `max_fill_bytes` bounds what an absent optional input of a request is filled up to."""
        self._loaded = loaded
        self._scheduler = scheduler
        self._workers = workers
        self._clock = clock
        self.statistics = ModelStatistics()
        self.aliases: tuple[str, ...] = ()
        self._holders = 0
        self._unheld = asyncio.Event()
        limits = batch_limits(self.manifest, settings)
        together = loaded.together and settings.enabled
        self.lane = _make_lane(
            loaded, limits if together else BatchLimits(1, limits.max_tokens), settings.max_queue_rows
        )
        self.max_rows = limits.max_rows if self.manifest.batched else 1
        self._admission = Admission(self.manifest, self.max_rows, max_fill_bytes)
        scheduler.add(self.lane)

    @property
    def name(self) -> str:
        """The model's name."""
        return self._loaded.bundle.model

    @property
    def version(self) -> int:
        """The version's number."""
        return self._loaded.bundle.version

    @property
    def manifest(self) -> Manifest:
        """The contract of this version."""
        return self._loaded.bundle.manifest

    @property
    def verified(self) -> bool:
        """Whether the files were held against digests."""
        return self._loaded.bundle.verified

    @property
    def labels(self) -> tuple[str, ...]:
        """The class names by index; empty where there are none."""
        return self._loaded.bundle.labels

    @property
    def codec(self) -> Codec | None:
        """What turns a caller's content into the inputs of one row, if the model has one."""
        return self._loaded.codec

    @property
    def loaded(self) -> LoadedVersion:
        """How it was opened: variants, precisions, what was measured."""
        return self._loaded

    @property
    def provider(self) -> str:
        """The execution provider of the default precision."""
        return self._loaded.provider

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keeps this version serving until a call that has found it is answered; to be entered before any await.

        Without it, a version that is replaced while the call's content is being decoded would refuse the call.
        """
        self._holders += 1
        try:
            yield
        finally:
            self._holders -= 1
            if not self._holders:
                self._unheld.set()

    async def encode(self, content: str | bytes, truncation: Truncation = Truncation.REFUSE) -> EncodedRow:
        """One row of inputs from a text or an encoded image.

        Raises TaskNotSupported without a codec, SignatureMismatch for content of the other kind, and what the codec
        raises.
        """
        codec = self.codec
        if codec is None:
            raise TaskNotSupported(f"model {self.name!r} has no codec; send tensors")
        if isinstance(codec, TextCodec):
            if not isinstance(content, str):
                raise SignatureMismatch(f"model {self.name!r} takes text, not images")
            if len(content) <= INLINE_TEXT_CHARACTERS:
                return codec.encode(content, truncation)
            return await asyncio.get_running_loop().run_in_executor(self._workers, codec.encode, content, truncation)
        if not isinstance(content, bytes):
            raise SignatureMismatch(f"model {self.name!r} takes images, not text")
        return await asyncio.get_running_loop().run_in_executor(self._workers, codec.encode, content)

    def check_deadline(self, deadline: float | None) -> None:
        """Refuses a call that even a request of no size would come too late for, before its message is looked into.

        Raises DeadlineUnreachable, with the time after which to try again.
        """
        if deadline is not None:
            self._scheduler.check_wait(self.lane, deadline)

    async def infer(
        self,
        inputs: Mapping[str, Tensor],
        outputs: Sequence[str],
        *,
        request_id: str,
        deadline: float | None = None,
        priority: int = 0,
        precision: str | None = None,
    ) -> Answer:
        """Admits, queues and answers one request; `deadline` in the clock's seconds, `precision` None for the default.

        Raises what `Admission.admit` raises, ParameterInvalid for a precision that is not served, QueueFull,
        DeadlineUnreachable, ModelNotReady, InferenceFailed, and DeadlineExpired where the deadline passes before the
        answer. A cancelled caller's request leaves the queue, and a run that it does not share is ended.
        """
        admitted = self._admission.admit(inputs, outputs)
        chosen = self._precision(precision)
        now = self._clock.now()
        if deadline is not None and deadline <= now:
            raise DeadlineExpired("the deadline had passed when the request arrived")
        loop = asyncio.get_running_loop()
        request = Request(
            request_id=request_id,
            inputs=admitted.inputs,
            outputs=admitted.outputs,
            rows=admitted.rows,
            lengths=admitted.lengths,
            masked=admitted.masked,
            group=(chosen, admitted.group),
            enqueued_at=now,
            deadline=deadline,
            reply=loop.create_future(),
            priority=priority,
            precision=chosen,
        )
        self._scheduler.submit(self.lane, request)
        if request.reply.done():
            return request.reply.result()
        timer = None if deadline is None else loop.call_later(deadline - now, self._expire, request)
        try:
            return await request.reply
        except asyncio.CancelledError:
            self._scheduler.withdraw(self.lane, request, RequestCancelled("the caller has gone"))
            raise
        finally:
            if timer is not None:
                timer.cancel()

    def _precision(self, asked: str | None) -> Precision:
        if asked is None:
            return self._loaded.precision
        served = next((precision for precision in self._loaded.precisions if precision == asked), None)
        if served is None:
            raise ParameterInvalid(
                f"model {self.name!r} does not serve {asked!r} here; it serves {', '.join(self._loaded.precisions)}",
                {"parameter": "precision"},
            )
        return served

    def _expire(self, request: Request) -> None:
        error = DeadlineExpired("the deadline passed before the answer was there")
        self._scheduler.withdraw(self.lane, request, error)

    def stop_runs(self) -> None:
        """Ends the runs in flight; for when nobody waits for their answers any more."""
        for session in self._loaded.sessions:
            session.stop_runs()

    async def close(self) -> None:
        """Finishes the calls that hold it and what was taken, then gives the session's memory back."""
        while self._holders:
            self._unheld.clear()
            await self._unheld.wait()
        await self._scheduler.remove(self.lane)
        await asyncio.get_running_loop().run_in_executor(self._workers, self._loaded.close)


def _make_lane(loaded: LoadedVersion, limits: BatchLimits, max_queue_rows: int) -> Lane:
    return Lane(
        model=loaded.bundle.model,
        version=loaded.bundle.version,
        variants=loaded.variants,
        limits=limits,
        queue=RequestQueue(max_queue_rows),
    )
