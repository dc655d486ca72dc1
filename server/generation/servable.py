"""A version that writes token by token."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import asdict

from typing_extensions import override

from server.batching.admission import MAX_FILL_BYTES, Admission
from server.batching.request import Rows
from server.batching.scheduler import Scheduler
from server.clock import Clock
from server.codecs.codec import EncodedRow
from server.errors import DeadlineExpired, ParameterInvalid, RowLimitExceeded, SequenceTooLong
from server.generation.decoding import Decoding
from server.generation.delivery import Delivery
from server.generation.encoding import Encoder
from server.generation.handle import Generation
from server.generation.lane import Costs, GenerationLane
from server.generation.observer import GenerationObserver, GenerationState
from server.generation.reader import Reader
from server.generation.request import GenerationRequest
from server.generation.running import RunningBatch
from server.generation.slots import Slots
from server.generation.steps import make_steps
from server.loading.generation.loaded import LoadedGeneration, WritingGraphs
from server.manifest import GenerationSpec, Precision
from server.servable import Servable
from server.settings import GenerationSettings
from server.tensors import Array, Datatype, Tensor, cast


class Waiting:
    """The queues of several lanes as one, for metrics."""

    def __init__(self, lanes: Sequence[GenerationLane]) -> None:
        self._lanes = lanes

    def __len__(self) -> int:
        return sum(len(lane.queue) for lane in self._lanes)

    @property
    def rows(self) -> int:
        """Rows that wait."""
        return sum(lane.queue.rows for lane in self._lanes)

    @property
    def capacity_rows(self) -> int:
        """Rows that may."""
        return sum(lane.queue.capacity_rows for lane in self._lanes)


class Generative(Servable):
    """Writes for one version: one running batch for each precision that is served."""

    def __init__(
        self,
        loaded: LoadedGeneration,
        scheduler: Scheduler,
        workers: Executor,
        clock: Clock,
        observer: GenerationObserver,
        settings: GenerationSettings,
        max_fill_bytes: int = MAX_FILL_BYTES,
    ) -> None:
        """Starts serving; `max_fill_bytes` bounds what an absent optional input of a request is filled up to."""
        super().__init__(loaded.bundle, loaded.codec, workers)
        self._loaded = loaded
        self._clock = clock
        self._settings = settings
        self.max_rows = 1
        manifest = self.manifest
        assert manifest.generation is not None  # noqa: S101 - the loader loads no others so
        self._spec: GenerationSpec = manifest.generation
        self._encodes = manifest.encodes
        self._sources = tuple(dict.fromkeys(state.source for state in manifest.states if state.source is not None))
        self._admission = Admission(manifest, 1, max_fill_bytes)
        delivery = Delivery(loaded.detokenizer)
        self._lanes = {graphs.precision: self._lane(graphs, delivery, scheduler, observer) for graphs in loaded.graphs}
        self._attention = frozenset(output.name for output in manifest.outputs if output.role == "attention")
        self._maps = {graphs.precision: graphs.step.give_maps for graphs in loaded.graphs}

    def _lane(
        self, graphs: WritingGraphs, delivery: Delivery, scheduler: Scheduler, observer: GenerationObserver
    ) -> GenerationLane:
        manifest, settings = self.manifest, self._settings
        max_rows = settings.max_rows if self._loaded.together else 1
        slots = Slots(manifest.states, max_rows=max_rows, max_bytes=settings.max_state_bytes)
        steps = make_steps(self._spec, manifest.states, slots, graphs.step, max_rows)
        return GenerationLane(
            model=self.name,
            version=self.version,
            precision=graphs.precision,
            batch=RunningBatch(manifest, slots, steps, max_rows, self._clock),
            encoder=None if graphs.encode is None else Encoder(manifest, graphs.encode),
            costs=Costs(graphs.encode_cost, graphs.read_cost, graphs.step_cost),
            threads=graphs.threads,
            max_rows=max_rows,
            settings=settings,
            delivery=delivery,
            scheduler=scheduler,
            clock=self._clock,
            observer=observer,
        )

    # --- what it is ---------------------------------------------------------------------------------------------------

    @property
    @override
    def provider(self) -> str:
        return self._loaded.sessions[0].provider

    @property
    @override
    def precisions(self) -> tuple[Precision, ...]:
        return self._loaded.precisions

    @property
    @override
    def sessions(self) -> int:
        return len(self._loaded.sessions)

    @property
    def states(self) -> tuple[GenerationState, ...]:
        """How its running batches stand, one a precision."""
        return tuple(lane.state() for lane in self._lanes.values())

    @property
    def queue(self) -> "Waiting":
        """How many wait in all precisions together, and how many may."""
        return Waiting(tuple(self._lanes.values()))

    @override
    def told(self) -> Mapping[str, str]:
        graphs = {
            one.precision: {
                "threads": one.threads,
                "rows_as_columns": sorted(one.step.columns_rows),
                "encode_s": asdict(one.encode_cost.coefficients),
                "prefill_s": asdict(one.read_cost.coefficients),
                "step_s": asdict(one.step_cost.coefficients),
            }
            for one in self._loaded.graphs
        }
        return {
            "precision": self.precisions[0],
            "precisions": ",".join(self.precisions),
            "generation": json.dumps(graphs),
            "calibrated": "true" if self._loaded.calibrated else "false",
            "served_alone": self._loaded.reason_alone,
        }

    def tokens_of(self, prefix: str) -> tuple[int, ...]:
        """A forced prefix as token ids. Raises UndecodableInput for a text that has none."""
        return self._loaded.detokenizer.encode_prefix(prefix)

    def token_text(self, token: int) -> str:
        """What to call a token: its text, or as the vocabulary spells it where it is no whole characters."""
        return self._loaded.detokenizer.token(token)

    # --- what it does -------------------------------------------------------------------------------------------------

    def begin(
        self,
        source: EncodedRow,
        decoding: Decoding,
        *,
        prefix: Sequence[int] = (),
        attention: tuple[str, ...] = (),
        request_id: str,
        deadline: float | None = None,
        priority: int = 0,
        precision: str | None = None,
        streamed: bool = False,
    ) -> Generation:
        """Admits one text, which is written from now on; `deadline` in the clock's seconds.

        `attention` names outputs whose weights are collected.
        Raises ParameterInvalid for choices that contradict, or are not served; what `Admission.admit` raises;
        SequenceTooLong where prompt, prefix and new tokens are more than the model takes; DeadlineExpired; and what
        `GenerationLane.submit` raises; all before any work.
        """
        decoding.check()
        chosen = self._precision(precision)
        self._check_attention(attention, chosen)
        self._check_new(decoding)
        admitted = self._admission.admit(self._tensors(source), (self._spec.logits,))
        if admitted.rows != 1:
            raise RowLimitExceeded(
                f"{admitted.rows} rows; one text is written at a time", {"rows": str(admitted.rows), "max_rows": "1"}
            )
        now = self._clock.now()
        if deadline is not None and deadline <= now:
            raise DeadlineExpired("the deadline had passed when the request arrived")
        prompt = () if self._encodes else _ids(admitted.inputs)
        feed = (*self._spec.start, *prompt, *prefix)
        self._check_feed(feed, decoding)
        loop = asyncio.get_running_loop()
        request = GenerationRequest(
            request_id=request_id,
            encoded=self._rows(admitted.inputs, admitted.lengths, admitted.masked) if self._encodes else None,
            feed=feed,
            prompt_tokens=max(admitted.lengths.values(), default=1) + len(prefix),
            context=feed,
            decoding=decoding,
            maps=attention,
            enqueued_at=now,
            deadline=deadline,
            reply=loop.create_future(),
            reader=Reader(self._settings.stream_buffer) if streamed else None,
            priority=priority,
        )
        lane = self._lanes[chosen]
        if request.reader is not None:
            request.reader.on_room = lambda: lane.resume(request)
        lane.submit(request)
        timer = None
        if deadline is not None:
            late = DeadlineExpired("the deadline passed before the text was written")
            timer = loop.call_later(deadline - now, lane.withdraw, request, late)
        return Generation(lane, request, timer)

    def _rows(self, inputs: Mapping[str, Array], lengths: Mapping[str, int], masked: bool) -> Rows:
        return Rows(inputs=inputs, outputs=self._sources, rows=1, lengths=lengths, masked=masked)

    def _tensors(self, source: EncodedRow) -> dict[str, Tensor]:
        """The codec's arrays in the datatypes of the signature."""
        tensors: dict[str, Tensor] = {}
        for name, array in source.inputs.items():
            spec = self.manifest.input(name)
            datatype = Datatype.INT64 if spec is None else spec.datatype
            tensors[name] = Tensor(datatype, cast(array, datatype))
        return tensors

    def _check_attention(self, attention: Sequence[str], precision: Precision) -> None:
        if attention and not self._maps[precision]:
            raise ParameterInvalid(f"model {self.name!r} gives no attention in {precision}", {"parameter": "attention"})
        unknown = [name for name in attention if name not in self._attention]
        if unknown:
            raise ParameterInvalid(
                f"model {self.name!r} has no attention output {unknown[0]!r}; it has "
                f"{', '.join(sorted(self._attention))}",
                {"parameter": "attention"},
            )

    def _check_new(self, decoding: Decoding) -> None:
        most = min(self._settings.max_tokens, self._spec.max_length)
        if decoding.max_tokens > most:
            raise ParameterInvalid(
                f"max_tokens is {decoding.max_tokens}; at most {most} new tokens are written here",
                {"parameter": "max_tokens", "max_tokens": str(most)},
            )

    def _check_feed(self, feed: tuple[int, ...], decoding: Decoding) -> None:
        if not feed:
            raise SequenceTooLong("there is nothing to begin with")
        if max(feed) >= self._spec.vocab_size or min(feed) < 0:
            raise ParameterInvalid(
                f"a token to begin with is outside the model's vocabulary of {self._spec.vocab_size}",
                {"parameter": "prefix"},
            )
        positions, most = len(feed) + decoding.max_tokens - 1, self._spec.max_length
        if positions > most:
            raise SequenceTooLong(
                f"{len(feed)} tokens to begin with and {decoding.max_tokens} new ones are more than the "
                f"{most} that the model takes: ask for fewer new tokens, or shorten the beginning",
                {"length": str(positions), "max_length": str(most)},
            )

    @override
    def stop_runs(self) -> None:
        for session in self._loaded.sessions:
            session.stop_runs()

    @override
    async def close(self) -> None:
        await self._released()
        for lane in self._lanes.values():
            await lane.close()
        await asyncio.get_running_loop().run_in_executor(self._workers, self._loaded.close)


def _ids(inputs: Mapping[str, Array]) -> tuple[int, ...]:
    """The prompt of a model without a source: its one input, [1, length]."""
    (ids,) = inputs.values()
    return tuple(ids[0].tolist())
