"""A model that writes, in simulated time: the real servable, lane and scheduler over graphs that add up."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit

from server.batching.cost import Coefficients, Cost
from server.codecs.codec import EncodedRow
from server.errors import ServeError
from server.generation.decoding import Decoding
from server.generation.handle import Generation
from server.generation.lane import GenerationLane
from server.generation.observer import LeaveReason, RunKind, StepRecord
from server.generation.result import Generated, Increment
from server.generation.servable import Generative
from server.generation.text import Detokenizer
from server.loading.generation.loaded import LoadedGeneration, WritingGraphs
from server.settings import GenerationSettings
from server.store.bundle import Bundle
from tests.support.adder import PAD, START, VOCABULARY, Adder, written
from tests.support.simulation import Machine

STEP_S, READ_S, ENCODE_S = 1e-3, 1e-3, 2e-3
WELL = ("end", "length", "stop")
"""How a text ends that has been written."""


class InlineExecutor(Executor):
    """Does at once what it is given."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        done: Future[Any] = Future()
        done.set_result(fn(*args, **kwargs))
        return done


@dataclass(eq=False)
class GenerationLedger:
    """Keeps everything that a lane tells its observer."""

    records: list[StepRecord] = field(default_factory=list)
    queue_s: list[float] = field(default_factory=list)
    """Of each generation that joined."""
    reasons: list[LeaveReason] = field(default_factory=list)
    """Of each generation that left."""
    saved: list[tuple[LeaveReason, int]] = field(default_factory=list)
    first_s: list[float] = field(default_factory=list)
    finishes: list[tuple[int, int]] = field(default_factory=list)
    """(prompt tokens, tokens) of each generation that ended well."""
    pauses: int = 0
    resumes: int = 0

    def step_ran(self, record: StepRecord) -> None:
        self.records.append(record)

    def joined(self, model: str, version: int, queue_s: float) -> None:
        self.queue_s.append(queue_s)

    def left(self, model: str, version: int, reason: LeaveReason, steps_saved: int = 0) -> None:
        self.reasons.append(reason)
        self.saved.append((reason, steps_saved))

    def first_token(self, model: str, version: int, seconds: float) -> None:
        self.first_s.append(seconds)

    def finished(self, model: str, version: int, prompt_tokens: int, tokens: int, seconds_per_token: float) -> None:
        self.finishes.append((prompt_tokens, tokens))

    def paused(self, model: str, version: int) -> None:
        self.pauses += 1

    def resumed(self, model: str, version: int) -> None:
        self.resumes += 1

    def rows_of(self, kind: RunKind) -> list[int]:
        """The rows of each run of a kind, in order."""
        return [record.rows for record in self.records if record.kind is kind]


@dataclass(eq=False)
class Text:
    """A caller's view of one generation."""

    ids: tuple[int, ...]
    """The source, or the prompt."""
    prefix: tuple[int, ...]
    decoding: Decoding
    generation: Generation | None = None
    fate: str = ""
    """How it finished, or the reason of its error; empty while the caller waits."""
    error: ServeError | None = None
    ended_at: float = 0.0
    generated: Generated | None = None
    increments: list[Increment] = field(default_factory=list)

    @property
    def written(self) -> tuple[int, ...]:
        """The new tokens of the best text."""
        assert self.generated is not None, self.fate
        return self.generated.sequences[0].ids

    @property
    def streamed(self) -> tuple[int, ...]:
        """The new tokens of all increments."""
        return tuple(token for increment in self.increments for token in increment.ids)

    @property
    def text(self) -> str:
        """The text of all increments."""
        return "".join(increment.text for increment in self.increments)


class Desk:
    """One model on a simulated machine, its callers, and what must hold of each of their texts."""

    def __init__(
        self, directory: Path, adder: Adder, *, cores: int = 1, threads: int = 1, together: bool = True, **settings: Any
    ) -> None:
        """`threads` are those of each of its runs; `settings` are fields of `GenerationSettings`."""
        self.machine = Machine(cores, max_age_s=settings.pop("max_age_s", 1.0))
        self.adder = adder
        self.ledger = GenerationLedger()
        self.texts: list[Text] = []
        """In the order in which they were asked for."""
        self._agenda: dict[float, list[Callable[[], object]]] = {}
        most_bytes = settings.pop("max_state_bytes", None)
        # The simulated machine computes a whole turn at its start: a long one would be over before anything can happen.
        given = GenerationSettings(**{"turn_s": 0.005, **settings})
        if most_bytes is not None:  # fewer than the setting allows: rows of this model are small
            given = given.model_copy(update={"max_state_bytes": most_bytes})
        self.writer = self._serve(directory, threads, together, given)
        (self.lane,) = self.writer._lanes.values()
        seconds = {"encode": ENCODE_S, "step": STEP_S}
        adder.spend = lambda kind, rows: self.machine.compute(seconds[kind], threads)

    def __enter__(self) -> "Desk":
        return self

    def __exit__(self, *_: object) -> None:
        self.machine.loop.close()

    def _serve(self, directory: Path, threads: int, together: bool, settings: GenerationSettings) -> Generative:
        manifest, adder = self.adder.manifest(), self.adder
        write_words(directory / "tokenizer.json", VOCABULARY)
        bundle = Bundle("adder", 1, directory, manifest, (), verified=True, graph_directory=directory)
        graphs = WritingGraphs(
            precision="fp32",
            encode=adder.encode if adder.encodes else None,
            step=adder.graphs(),
            threads=threads,
            encode_cost=Cost(Coefficients(ENCODE_S, 0.0, 0.0, 0.0)),
            read_cost=Cost(Coefficients(READ_S, 0.0, 0.0, 0.0)),
            step_cost=Cost(Coefficients(STEP_S, 0.0, 0.0, 0.0)),
            sessions=(),
        )
        loaded = LoadedGeneration(bundle, None, Detokenizer(directory), (graphs,), together)
        machine = self.machine
        return Generative(loaded, machine.scheduler, InlineExecutor(), machine.clock, self.ledger, settings)

    # --- callers --------------------------------------------------------------------------------------------------

    def at(self, seconds: float, action: Callable[..., object], *arguments: object, **named: object) -> None:
        """Does something when the machine's time is `seconds`; what is for the same time is done in order."""
        if seconds not in self._agenda:
            self._agenda[seconds] = []
            self.machine.loop.call_at(seconds, self._attend_to, seconds)
        self._agenda[seconds].append(partial(action, *arguments, **named))

    def _attend_to(self, seconds: float) -> None:
        for action in self._agenda.pop(seconds):
            action()

    def ask(
        self,
        ids: Sequence[int],
        max_tokens: int = 6,
        *,
        prefix: Sequence[int] = (),
        attention: tuple[str, ...] = (),
        streamed: bool = False,
        pace: float = 0.0,
        reads: int | None = None,
        within: float | None = None,
        gives_up_after: float | None = None,
        priority: int = 0,
        **decoding: Any,
    ) -> Text:
        """A caller asks now, on the event loop.

        One who streams reads an increment each `pace` seconds, and none after `reads` of them.
        """
        text = Text(tuple(ids), tuple(prefix), Decoding(max_tokens=max_tokens, **decoding))
        self.texts.append(text)
        try:
            text.generation = self.writer.begin(
                EncodedRow({"ids": np.array([ids], np.int64)}),
                text.decoding,
                prefix=text.prefix,
                attention=attention,
                request_id=str(len(self.texts)),
                deadline=None if within is None else self.machine.clock.now() + within,
                priority=priority,
                streamed=streamed,
            )
        except ServeError as error:
            self._ended(text, error.reason, error)
            return text
        if gives_up_after is not None:
            self.machine.loop.call_later(gives_up_after, text.generation.cancel)
        self.machine.loop.create_task(self._follow(text, streamed, pace, reads))
        return text

    def ask_at(self, seconds: float, ids: Sequence[int], max_tokens: int = 6, **more: Any) -> None:
        """As `ask`, when the machine's time is `seconds`."""
        self.at(seconds, self.ask, ids, max_tokens, **more)

    async def _follow(self, text: Text, streamed: bool, pace: float, reads: int | None) -> None:
        assert text.generation is not None
        increments = aiter(text.generation)
        try:
            while streamed and len(text.increments) != reads:
                try:
                    text.increments.append(await anext(increments))
                except StopAsyncIteration:
                    break
                if pace:
                    await asyncio.sleep(pace)
            text.generated = await text.generation.result()
        except ServeError as error:
            self._ended(text, error.reason, error)
        else:
            self._ended(text, text.generated.sequences[0].finish.value, None)

    def _ended(self, text: Text, fate: str, error: ServeError | None) -> None:
        assert not text.fate, "ended twice"
        text.fate, text.error, text.ended_at = fate, error, self.machine.clock.machine

    # --- running --------------------------------------------------------------------------------------------------

    def run(self) -> list[str]:
        """Goes on until nothing can happen any more, and checks what must hold; returns the texts' fates."""
        self.machine.run()
        assert not self.adder.broken, self.adder.broken
        self._check_lane(self.lane)
        for text in self.texts:
            assert text.fate, "a text was lost"
            if text.fate in WELL:
                self._check(text)
        self._check_ledger()
        return [text.fate for text in self.texts]

    def _check_lane(self, lane: GenerationLane) -> None:
        state = lane.state()
        assert (state.slots_used, state.waiting, state.paused, lane.busy) == (0, 0, 0, False)
        assert lane._batch.slots.rows == len(lane._batch._sampler) == 0
        assert not any((lane._watched, lane._unbegun, lane._reading, lane._joining, lane._paused, lane._untold))

    def _check(self, text: Text) -> None:
        asked, generated = text.decoding, text.generated
        assert generated is not None
        if text.increments and text.increments[-1].finish is not None:
            best = generated.sequences[0]
            assert (text.streamed, text.text, text.increments[-1].finish) == (best.ids, best.text, best.finish)
            assert [one.finish for one in text.increments[:-1]] == [None] * (len(text.increments) - 1)
        if asked.num_beams == 1 and not asked.samples and asked.repetition_penalty == 1.0:
            ids, finish = self.reference(text)
            if text.fate == "stop":
                assert text.written == ids[: len(text.written)]
            else:
                assert (text.written, text.fate) == (ids, finish)

    def reference(self, text: Text) -> tuple[tuple[int, ...], str]:
        """What greedy decoding writes, one text by itself, and how it ends."""
        encodes = self.adder.encodes
        fed = (START, *(() if encodes else text.ids), *text.prefix)
        asked = text.decoding
        source = text.ids if encodes else ()
        return written(fed, source, max_tokens=asked.max_tokens, min_tokens=asked.min_tokens)

    def _check_ledger(self) -> None:
        """Each generation that was admitted has left once, for its own reason."""
        admitted = [text for text in self.texts if text.generation is not None]
        names = {"RequestCancelled": "cancelled", "DeadlineExpired": "expired", "InferenceFailed": "failed"}
        names |= {"ReaderTooSlow": "reader_too_slow", "ModelNotReady": "draining", "ServerDraining": "draining"}
        expected = Counter(text.fate if text.error is None else names[type(text.error).__name__] for text in admitted)
        assert Counter(reason.value for reason in self.ledger.reasons) == expected
        well = [text for text in admitted if text.fate in WELL]
        assert len(self.ledger.finishes) == len(well)
        assert len(well) <= len(self.ledger.queue_s) <= len(admitted)
        assert len(well) <= len(self.ledger.first_s) <= len(self.ledger.queue_s)


def write_words(path: Path, count: int) -> None:
    """A tokenizer of so many tokens: padding, end, start, and words `w3`, `w4`, … divided by white space."""
    words = {f"w{number}": number for number in range(count)}
    special = [f"w{number}" for number in range(PAD, START + 1)]
    tokenizer = Tokenizer(WordLevel(words, unk_token=special[0]))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.add_special_tokens(special)
    tokenizer.save(str(path))
