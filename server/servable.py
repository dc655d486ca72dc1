"""One version of one model that serves: its bundle, its session, its codec, its lane in the scheduler."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass

from server.batching.admission import MAX_FILL_BYTES, admit
from server.batching.lane import Lane
from server.batching.policy import BatchLimits
from server.batching.queue import RequestQueue
from server.batching.request import Answer, Request
from server.batching.scheduler import Scheduler
from server.clock import Clock
from server.codecs import Codec, TextCodec
from server.codecs.codec import EncodedRow, Truncation
from server.errors import DeadlineExpired, RequestCancelled, SignatureMismatch, TaskNotSupported
from server.manifest import Manifest
from server.runtime.session import Session
from server.settings import BatchingSettings
from server.store.bundle import Bundle
from server.telemetry.statistics import ModelStatistics
from server.tensors import Tensor

INLINE_TEXT_CHARACTERS = 2048
"""A shorter text is tokenized on the event loop: the hop to a thread would cost more than the work."""


@dataclass(frozen=True, slots=True, eq=False)
class LoadedVersion:
    """A version read, verified and warmed, not yet serving."""

    bundle: Bundle
    session: Session
    codec: Codec | None


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
        self._max_fill_bytes = max_fill_bytes
        self._scheduler = scheduler
        self._workers = workers
        self._clock = clock
        self.statistics = ModelStatistics()
        self.aliases: tuple[str, ...] = ()
        self._holders = 0
        self._unheld = asyncio.Event()
        self.lane = _make_lane(loaded, settings)
        self.max_rows = _max_rows(self.manifest, settings) if self.manifest.batched else 1
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
    def provider(self) -> str:
        """The execution provider of the session."""
        return self._loaded.session.provider

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

    async def infer(
        self,
        inputs: Mapping[str, Tensor],
        outputs: Sequence[str],
        *,
        request_id: str,
        deadline: float | None = None,
        priority: int = 0,
    ) -> Answer:
        """Admits, queues and answers one request; `deadline` is in the clock's seconds.

        Raises what `admit` raises, QueueFull, ModelNotReady, InferenceFailed, and DeadlineExpired where the
        deadline passes before the answer. A cancelled caller's request leaves the queue.
        """
        admitted = admit(self.manifest, inputs, outputs, self.max_rows, self._max_fill_bytes)
        now = self._clock.now()
        if deadline is not None and deadline <= now:
            raise DeadlineExpired("the deadline had passed when the request arrived")
        request = Request(
            request_id=request_id,
            inputs=admitted.inputs,
            outputs=admitted.outputs,
            rows=admitted.rows,
            lengths=admitted.lengths,
            group=admitted.group,
            enqueued_at=now,
            deadline=deadline,
            reply=asyncio.get_running_loop().create_future(),
            priority=priority,
        )
        self._scheduler.submit(self.lane, request)
        try:
            async with asyncio.timeout(None if deadline is None else deadline - now):
                return await request.reply
        except TimeoutError:
            error = DeadlineExpired("the deadline passed before the answer was there")
            self._scheduler.withdraw(self.lane, request, error)
            raise error from None
        except asyncio.CancelledError:
            self._scheduler.withdraw(self.lane, request, RequestCancelled("the caller has gone"))
            raise

    def stop_runs(self) -> None:
        """Ends the runs in flight; for when nobody waits for their answers any more."""
        self._loaded.session.stop_runs()

    async def close(self) -> None:
        """Finishes the calls that hold it and what was taken, then gives the session's memory back."""
        while self._holders:
            self._unheld.clear()
            await self._unheld.wait()
        await self._scheduler.remove(self.lane)
        await asyncio.get_running_loop().run_in_executor(self._workers, self._loaded.session.close)


def _max_rows(manifest: Manifest, settings: BatchingSettings) -> int:
    """The stricter of the manifest's and the deployment's bound."""
    return min(settings.max_batch_rows, manifest.batching.max_rows or settings.max_batch_rows)


def _make_lane(loaded: LoadedVersion, settings: BatchingSettings) -> Lane:
    manifest = loaded.bundle.manifest
    together = settings.enabled and manifest.batched and manifest.batching.invariant
    limits = BatchLimits(
        max_rows=_max_rows(manifest, settings) if together else 1,
        max_tokens=min(settings.max_batch_tokens, manifest.batching.max_tokens or settings.max_batch_tokens),
        max_padding_ratio=settings.max_padding_ratio,
    )
    return Lane(
        model=loaded.bundle.model,
        version=loaded.bundle.version,
        run=loaded.session.run,
        inputs=manifest.inputs,
        outputs={spec.name: spec for spec in manifest.outputs},
        limits=limits,
        queue=RequestQueue(settings.max_queue_rows),
    )
