"""A version that answers at once: each request is a row of a batch, or a few."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import asdict

from typing_extensions import override

from server.batching.admission import MAX_FILL_BYTES, Admission
from server.batching.lane import Lane
from server.batching.queue import RequestQueue
from server.batching.request import Answer, Request
from server.batching.scheduler import Scheduler
from server.batching.variant import BatchLimits
from server.clock import Clock
from server.errors import DeadlineExpired, RequestCancelled
from server.loading.loaded import LoadedVersion
from server.loading.loader import batch_limits
from server.manifest import Precision
from server.servable import Servable
from server.settings import BatchingSettings
from server.tensors import Tensor


class Batched(Servable):
    """Answers requests for one version, batched with others by the scheduler."""

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
        super().__init__(loaded.bundle, loaded.codec, workers)
        self._loaded = loaded
        self._scheduler = scheduler
        self._clock = clock
        limits = batch_limits(self.manifest, settings)
        together = loaded.together and settings.enabled
        self.lane = _make_lane(
            loaded, limits if together else BatchLimits(1, limits.max_tokens), settings.max_queue_rows
        )
        self.max_rows = limits.max_rows if self.manifest.batched else 1
        self._admission = Admission(self.manifest, self.max_rows, max_fill_bytes)
        scheduler.add(self.lane)

    @property
    def loaded(self) -> LoadedVersion:
        """How it was opened: variants, precisions, what was measured."""
        return self._loaded

    @property
    @override
    def provider(self) -> str:
        return self._loaded.provider

    @property
    @override
    def precisions(self) -> tuple[Precision, ...]:
        return self._loaded.precisions

    @property
    @override
    def sessions(self) -> int:
        return len(self._loaded.sessions)

    @override
    def told(self) -> Mapping[str, str]:
        loaded = self._loaded
        errors = {
            precision: {"max_error": error.max_error, "min_cosine": error.min_cosine}
            for precision, error in loaded.errors.items()
        }
        variants = [
            {
                "variant": variant.name,
                "graph": variant.graph,
                "provider": variant.provider,
                "threads": variant.threads,
                "seconds": asdict(variant.cost.coefficients),
            }
            for variant in loaded.variants
        ]
        return {
            "precision": loaded.precision,
            "precisions": ",".join(loaded.precisions),
            "precision_errors": json.dumps(errors) if errors else "",
            "variants": json.dumps(variants),
            "calibrated": "true" if loaded.calibrated else "false",
            "served_alone": loaded.reason_alone,
        }

    @override
    def check_deadline(self, deadline: float | None) -> None:
        """Refuses a call that even a request of no size would come too late for, before its message is looked into.

        Raises DeadlineUnreachable, with the time after which to try again.
        """
        if deadline is not None:
            self._scheduler.check_wait(self.lane, deadline)

    @override
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

    def _expire(self, request: Request) -> None:
        error = DeadlineExpired("the deadline passed before the answer was there")
        self._scheduler.withdraw(self.lane, request, error)

    @override
    def stop_runs(self) -> None:
        """Ends the runs in flight; for when nobody waits for their answers any more."""
        for session in self._loaded.sessions:
            session.stop_runs()

    @override
    async def close(self) -> None:
        """Finishes the calls that hold it and what was taken, then gives the session's memory back."""
        await self._released()
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
