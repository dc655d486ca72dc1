"""Generations of one call, for both services: what each input asks for, all begun before any is waited for."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import Protocol, cast, runtime_checkable

from server.codecs.codec import EncodedRow
from server.errors import PayloadTooLarge, ServeError, TaskNotSupported
from server.generation.decoding import Decoding
from server.generation.result import Generated, Increment
from server.manifest import GenerationSpec, Manifest
from server.rpc.call import Call
from server.rpc.rows import for_each, lengths_of, naming_input
from server.servable import INLINE_TEXT_CHARACTERS, Servable

SEED_BITS = 53
"""Of the seeds that the server picks: programs that know only double precision keep them exactly."""


class Generation(Protocol):
    """One text on its way."""

    def __aiter__(self) -> AsyncIterator[Increment]:
        """The increments of a streamed generation, the last with `finish`. Raises ServeError."""
        ...

    async def result(self) -> Generated:
        """The whole at its end. Raises ServeError."""
        ...

    def cancel(self) -> None:
        """Lets go of it; harmless twice, and after the end."""
        ...


@runtime_checkable
class Writer(Protocol):
    """A version that writes token by token, beside what every version can."""

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
        """Admits one text.

        Raises ParameterInvalid, SequenceTooLong, QueueFull, DeadlineUnreachable or ModelNotReady before any work.
        """
        ...

    def tokens_of(self, prefix: str) -> tuple[int, ...]:
        """A forced prefix as token ids. Raises UndecodableInput."""
        ...

    def token_text(self, token: int) -> str:
        """What to call a token: its text, or as the vocabulary spells it where it is no whole characters."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Prompt:
    """One input, found valid."""

    row: EncodedRow
    prefix: tuple[int, ...]
    decoding: Decoding

    @property
    def tokens(self) -> int:
        """Tokens that the model reads: source or beginning, and prefix; not the start token."""
        return self.row.kept_tokens + len(self.prefix)


@dataclass(frozen=True, slots=True)
class Wish:
    """How the texts of a call are to be written."""

    decoding: Decoding
    """`max_tokens` is 0 where the caller said nothing."""
    seeded: bool
    """The caller gave the seed."""

    def check(self, spec: GenerationSpec) -> None:
        """Holds what all inputs share against its ranges and itself. Raises ParameterInvalid."""
        own = self.decoding
        replace(own, max_tokens=own.max_tokens or max(spec.max_tokens, own.min_tokens)).check()

    def prompt(self, manifest: Manifest, row: EncodedRow, prefix: tuple[int, ...], most_tokens: int) -> Prompt:
        """One input with a decoding of its own.

        Without `max_tokens` it is the model's default, as far as the model has positions and the server allows
        `most_tokens`; without a seed one is picked where tokens are drawn.
        Raises TaskNotSupported of a model that does not write, ParameterInvalid where `min_tokens` is more than that.
        """
        spec = manifest.generation
        if spec is None:
            raise TaskNotSupported(f"model {manifest.name!r} does not write")
        # The last token is never fed, and so takes no position.
        room = spec.max_length - len(spec.start) - beginning(manifest, row) - len(prefix) + 1
        own = replace(
            self.decoding,
            max_tokens=self.decoding.max_tokens or max(1, min(spec.max_tokens, room, most_tokens)),
            seed=self.decoding.seed if self.seeded or not self.decoding.samples else secrets.randbits(SEED_BITS),
        )
        own.check()
        return Prompt(row, prefix, own)


def writer(servable: Servable) -> Writer | None:
    """The version as one that writes; None where it answers at once."""
    return cast(Writer, servable) if _writes(type(servable)) else None


@cache
def _writes(kind: type) -> bool:
    """Kept, because a protocol looks through all its methods each time it is asked."""
    return issubclass(kind, Writer)


def beginning(manifest: Manifest, row: EncodedRow) -> int:
    """Tokens of an input that stand before what is written, and take positions there; 0 with a source of its own."""
    return 0 if manifest.encodes else max(lengths_of(manifest, row.inputs).values(), default=0)


async def prefix_tokens(model: Writer, prefix: str, max_bytes: int) -> tuple[int, ...]:
    """A forced prefix as token ids; a long one is not tokenized on the event loop.

    Raises PayloadTooLarge for more UTF-8 bytes than `max_bytes`, UndecodableInput.
    """
    if not prefix:
        return ()
    # A character takes at least a byte: the first comparison spares encoding what is too long anyway.
    size = len(prefix) if len(prefix) > max_bytes else len(prefix.encode())
    if size > max_bytes:
        raise PayloadTooLarge(
            f"the prefix has at least {size} bytes; at most {max_bytes} are taken",
            {"bytes": str(size), "max_bytes": str(max_bytes)},
        )
    if len(prefix) <= INLINE_TEXT_CHARACTERS:
        return model.tokens_of(prefix)
    return await asyncio.to_thread(model.tokens_of, prefix)


@contextmanager
def begun(
    model: Writer,
    prompts: Sequence[Prompt],
    call: Call,
    *,
    attention: tuple[str, ...] = (),
    priority: int = 0,
    precision: str | None = None,
    streamed: bool = False,
) -> Iterator[list[Generation]]:
    """Begins all, and lets go of all at the end, however it comes. Raises what `begin` raises, naming the input."""
    generations: list[Generation] = []
    try:
        for index, prompt in enumerate(prompts):
            try:
                generation = model.begin(
                    prompt.row,
                    prompt.decoding,
                    prefix=prompt.prefix,
                    attention=attention,
                    request_id=call.request_id,
                    deadline=call.deadline,
                    priority=priority,
                    precision=precision,
                    streamed=streamed,
                )
            except ServeError as error:
                raise naming_input(error, index) from error
            generations.append(generation)
        yield generations
    finally:
        for generation in generations:
            generation.cancel()


async def results(generations: Sequence[Generation]) -> list[Generated]:
    """Waits for all; the first failure is raised, and the caller lets go of the rest. Raises what `result` raises."""
    return await for_each(generations, lambda _, generation: generation.result())
