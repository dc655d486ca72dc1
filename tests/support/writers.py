"""Models that write without any graph: what they write is told, behind the real registry, codecs and calls."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from server.codecs.codec import EncodedRow
from server.errors import RequestCancelled, ServeError, UndecodableInput
from server.generation.decoding import Decoding
from server.generation.result import (
    FinishReason,
    Generated,
    GenerationTiming,
    Increment,
    TopToken,
    Weights,
)
from server.generation.result import Sequence as Written
from server.loading.loaded import LoadedVersion
from server.manifest import (
    AttentionSpec,
    FixedAxis,
    GenerationSpec,
    GraphSpec,
    InputSpec,
    LengthAxis,
    Manifest,
    OutputSpec,
    Precision,
    RowAxis,
    StateSpec,
    TextCodecSpec,
    TokenAxis,
)
from server.servable import Servable
from server.settings import Settings
from server.tensors import Datatype
from tests.support.fakes import WORDS, FakeModel, Served, serving_fakes

START, END = 0, len(WORDS)
"""The start token is the vocabulary's first; what ends a text is no word."""
ALIGNMENT, SELF = "alignment", "self_attention"
HEADS = 2


def writing_model(name: str = "dates", *, encodes: bool = True, **generation: object) -> FakeModel:
    """Writes back what it reads, the last word first: from a source, or after a beginning."""
    row, words = RowAxis(), LengthAxis(max=16)
    new, heads = LengthAxis(name="new"), FixedAxis(size=HEADS)
    maps = {
        ALIGNMENT: AttentionSpec(
            name="cross",
            mechanism="additive cross-attention",
            outputs=(ALIGNMENT,),
            query=TokenAxis(length="new"),
            key=TokenAxis(),
        ),
        SELF: AttentionSpec(
            name="self",
            mechanism="multi-head self-attention",
            outputs=(SELF,),
            query=TokenAxis(length="new"),
            key=TokenAxis(length="keys"),
        ),
    }
    wanted = {name: spec for name, spec in maps.items() if encodes or name == SELF}
    manifest = Manifest(
        name=name,
        task="translation" if encodes else "text-generation",
        graphs=(
            *((GraphSpec(file="encode.onnx", role="encode", opset=20),) if encodes else ()),
            GraphSpec(file="step.onnx", role="step", maps=True, opset=20),
        ),
        inputs=(
            InputSpec(name="input_ids", datatype=Datatype.INT64, axes=(row, words)),
            *(
                (InputSpec(name="mask", datatype=Datatype.BOOL, axes=(row, LengthAxis()), role="mask", pad=False),)
                * encodes
            ),
        ),
        outputs=(
            OutputSpec(name="logits", datatype=Datatype.FP32, axes=(row, FixedAxis(size=END + 1)), role="logits"),
            *(
                OutputSpec(
                    name=output,
                    datatype=Datatype.FP32,
                    axes=(row, heads, new, LengthAxis(name=spec.key.length)),
                    role="attention",
                )
                for output, spec in wanted.items()
            ),
        ),
        states=(
            StateSpec(
                name="memory",
                output=None if encodes else "memory_after",
                source="memory" if encodes else None,
                datatype=Datatype.FP32,
                axes=(row, FixedAxis(size=1)),
                kind="constant" if encodes else "replace",
            ),
        ),
        generation=GenerationSpec(
            **{"vocab_size": END + 1, "start": (START,), "end": (END,), "max_length": 12, "max_tokens": 8, **generation}
        ),
        attention=tuple(wanted.values()),
        codec=TextCodecSpec(max_length=16, input_ids="input_ids", mask="mask" if encodes else None),
    )
    return FakeModel(manifest, dict)


@dataclass
class Book:
    """What the test says of all writers, and what they note of their texts."""

    begun: list["Writing"] = field(default_factory=list)
    refusals: dict[int, ServeError] = field(default_factory=dict)
    """Of the so-manieth text that is begun, counted from 0."""
    failures: dict[int, ServeError] = field(default_factory=dict)
    """Raised once the text has two tokens."""
    gate: asyncio.Event | None = None
    """Where there is one, nothing is written beyond the first token until it is set."""

    def write(self, loaded: LoadedVersion, executor: Executor) -> "FakeWriter":
        return FakeWriter(loaded, executor, self)


class FakeWriter(Servable):
    """Has the face of a version that writes."""

    max_rows = 1

    def __init__(self, loaded: LoadedVersion, executor: Executor, book: Book) -> None:
        super().__init__(loaded.bundle, loaded.codec, executor)
        self._book = book

    @property
    def provider(self) -> str:
        return "CPUExecutionProvider"

    @property
    def precisions(self) -> tuple[Precision, ...]:
        return ("fp32",)

    @property
    def sessions(self) -> int:
        return 2

    def told(self) -> Mapping[str, str]:
        return {"precision": "fp32"}

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
    ) -> "Writing":
        self._precision(precision)
        number = len(self._book.begun)
        if number in self._book.refusals:
            raise self._book.refusals[number]
        read = source.inputs["input_ids"][0].tolist()
        encodes = len(self.manifest.graphs) > 1
        writing = Writing(
            book=self._book,
            number=number,
            read=read,
            before=1 + len(prefix) + (0 if encodes else len(read)),
            prefix=tuple(prefix),
            decoding=decoding,
            outputs=attention,
            request_id=request_id,
            deadline=deadline,
            priority=priority,
            streamed=streamed,
        )
        self._book.begun.append(writing)
        return writing

    def tokens_of(self, prefix: str) -> tuple[int, ...]:
        if any(word not in WORDS for word in prefix.split()):
            raise UndecodableInput("the prefix has characters that the model's tokenizer has no token for")
        return tuple(WORDS.index(word) for word in prefix.split())

    def token_text(self, token: int) -> str:
        return WORDS[token] if token < len(WORDS) else "[END]"

    def stop_runs(self) -> None:
        pass

    async def close(self) -> None:
        await self._released()


@dataclass(eq=False)
class Writing:
    """One text: each token costs a log probability of a half, the end nothing."""

    book: Book
    number: int
    read: list[int]
    before: int
    prefix: tuple[int, ...]
    decoding: Decoding
    outputs: tuple[str, ...]
    request_id: str
    deadline: float | None
    priority: int
    streamed: bool
    cancelled: int = 0
    ended: bool = False

    @property
    def ids(self) -> tuple[int, ...]:
        return tuple(reversed(self.read))[: self.decoding.max_tokens]

    @property
    def finish(self) -> FinishReason:
        return FinishReason.END if len(self.read) < self.decoding.max_tokens else FinishReason.LENGTH

    async def __aiter__(self) -> AsyncIterator[Increment]:
        assert self.streamed
        for index in range(len(self.ids)):
            await self._step(index)
            last = index == len(self.ids) - 1
            yield Increment(
                ids=self.ids[index : index + 1],
                text=(" " if index else "") + WORDS[self.ids[index]],
                logprobs=(-0.5,) if self.decoding.logprobs else (),
                top=(self._top(),) if self.decoding.top_logprobs else (),
                attention=self._weights(index, index + 1),
                finish=self.finish if last else None,
                at_s=0.25 * (index + 1),
            )
        self.ended = True

    async def result(self) -> Generated:
        for index in range(len(self.ids)):
            await self._step(index)
        self.ended = True
        best = Written(
            ids=self.ids,
            text=" ".join(WORDS[token] for token in self.ids),
            finish=self.finish,
            score=-0.5 * len(self.ids),
            logprobs=(-0.5,) * len(self.ids) if self.decoding.logprobs else (),
            top=(self._top(),) * len(self.ids) if self.decoding.top_logprobs else (),
            attention=self._weights(0, len(self.ids)),
        )
        worse = [
            Written(ids=self.ids[:1], text=WORDS[self.ids[0]], finish=FinishReason.END, score=-9.0 - rank)
            for rank in range(1, self.decoding.num_sequences)
        ]
        timing = GenerationTiming(queue_s=0.125, first_token_s=0.25, compute_s=0.5, steps=len(self.ids), batch_rows=3)
        return Generated(sequences=(best, *worse), prompt_tokens=len(self.read) + len(self.prefix), timing=timing)

    def cancel(self) -> None:
        self.cancelled += not self.ended

    async def _step(self, index: int) -> None:
        await asyncio.sleep(0)
        if index and self.book.gate is not None:
            await self.book.gate.wait()
        if self.cancelled:
            raise RequestCancelled("the caller has gone")
        if index == 2 and self.number in self.book.failures:
            raise self.book.failures[self.number]

    def _top(self) -> tuple[TopToken, ...]:
        return tuple(TopToken(rank, -0.5 - rank) for rank in range(self.decoding.top_logprobs))

    def _weights(self, since: int, until: int) -> dict[str, Weights] | None:
        """The word that is read is looked at, by the second head half; written words evenly."""
        if not self.outputs:
            return None
        found: dict[str, Weights] = {}
        if ALIGNMENT in self.outputs:
            found[ALIGNMENT] = np.zeros((1, HEADS, until - since, len(self.read)), np.float32)
            for index in range(since, until):
                found[ALIGNMENT][0, :, index - since, len(self.read) - 1 - index] = (1, 0.5)
        if SELF in self.outputs:
            found[SELF] = np.zeros((1, HEADS, until - since, self.before + until - 1), np.float32)
            for index in range(since, until):
                found[SELF][0, :, index - since, : self.before + index] = 1 / (self.before + index)
        return found


def serving_writers(
    book: Book, directory: Path, models: Sequence[FakeModel], settings: Settings | None = None
) -> AbstractAsyncContextManager[Served]:
    """Serves models over real gRPC on a free port; those that write, by the book."""
    return serving_fakes(models, directory, settings, book.write)
