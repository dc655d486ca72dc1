"""Callers of all kinds: patient, gone, late, slow; each holds what it gets against what PyTorch writes."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field

from attendant import AsyncClient
from attendant.errors import AttendantError

from tests.soak.models import BEAM_TOKENS, BEAMS, LANGUAGE_MODEL, Prompt

FINE = frozenset({"DEADLINE_EXPIRED", "DEADLINE_UNREACHABLE", "DEADLINE_EXCEEDED", "CANCELLED"})
"""How a text may end that was given up, or came too late."""
PATIENT_S = 120.0


@dataclass
class Outcomes:
    """How the texts of a soak ended."""

    ended: Counter[str] = field(default_factory=Counter)
    """`kind: how`."""
    wrong: list[str] = field(default_factory=list)
    """What was not as it must be."""
    tokens: int = 0
    versions: set[tuple[str, int]] = field(default_factory=set)

    @property
    def count(self) -> int:
        """Texts that ended."""
        return sum(self.ended.values())


@dataclass
class Callers:
    """So many at once, each asking again as soon as a text has ended, until as many as wanted were asked for."""

    client: AsyncClient
    slow_client: AsyncClient
    """Takes little of what is sent before somebody reads it."""
    prompts: list[Prompt]
    texts: int
    at_once: int
    seed: int
    each: Callable[[int], None]
    """Told after each text how many have ended."""
    outcomes: Outcomes = field(default_factory=Outcomes)
    asked: int = 0

    async def run(self) -> Outcomes:
        """Until all texts have ended."""
        rngs = (random.Random(self.seed * 1000 + number) for number in range(self.at_once))
        await asyncio.gather(*(self._call_on(rng) for rng in rngs))
        return self.outcomes

    async def _call_on(self, rng: random.Random) -> None:
        kinds = {self._whole: 30, self._streamed: 40, self._left: 10, self._late: 10, self._followed: 8, self._slow: 2}
        while self.asked < self.texts:
            self.asked += 1
            (kind,) = rng.choices(list(kinds), list(kinds.values()))
            prompt, name = rng.choice(self.prompts), kind.__name__.strip("_")
            try:
                how = await kind(prompt, rng)
            except AttendantError as error:
                how = error.reason or error.code.name
                if not ((how in FINE and name in ("left", "late")) or (how == "READER_TOO_SLOW" and name == "slow")):
                    self.outcomes.wrong.append(f"{name}: {error}")
            self.outcomes.ended[f"{name}: {how}"] += 1
            self.each(self.outcomes.count)

    # --- kinds of callers ---------------------------------------------------------------------------------------------

    async def _whole(self, prompt: Prompt, rng: random.Random, timeout_s: float = PATIENT_S) -> str:
        most = min(prompt.room, rng.randint(1, 24))
        result = await self.client.generate(
            prompt.model, [prompt.text] * 2, prefix=prompt.prefix, max_tokens=most, timeout_s=timeout_s
        )
        for generation in result:
            (sequence,) = generation.sequences
            self._hold(prompt, result.model.version, most, sequence.ids, sequence.finish_reason == "end")
        return "OK"

    async def _late(self, prompt: Prompt, rng: random.Random) -> str:
        return await self._whole(prompt, rng, timeout_s=10 ** rng.uniform(-3, -0.5))

    async def _followed(self, prompt: Prompt, rng: random.Random) -> str:
        result = await self.client.generate(
            prompt.model,
            prompt.text,
            prefix=prompt.prefix,
            max_tokens=min(prompt.room, BEAM_TOKENS),
            num_beams=BEAMS,
            num_sequences=BEAMS,
            timeout_s=PATIENT_S,
        )
        expected = [text.ids for text in prompt.beams[(result.model.version - 1) % len(prompt.beams)].texts]
        found = [sequence.ids for sequence in result[0].sequences]
        if found != expected:
            self.outcomes.wrong.append(f"beams of {prompt.model} {result.model.version}: {found}, not {expected}")
        return "OK"

    async def _streamed(self, prompt: Prompt, rng: random.Random) -> str:
        return await self._read(prompt, min(prompt.room, rng.randint(1, 24)))

    async def _left(self, prompt: Prompt, rng: random.Random) -> str:
        return await self._read(prompt, min(prompt.room, 24), leaves_after=rng.randint(0, 8))

    async def _slow(self, prompt: Prompt, rng: random.Random) -> str:
        """Long texts with attention, read with rests; some of these are longer than a text may be paused."""
        prompt = rng.choice([one for one in self.prompts if one.model == LANGUAGE_MODEL])
        return await self._read(prompt, 250, rest_s=rng.choice([0.1, 0.3, 3.0]), attention=True)

    async def _read(
        self,
        prompt: Prompt,
        most: int,
        *,
        leaves_after: int | None = None,
        rest_s: float = 0.0,
        attention: bool = False,
    ) -> str:
        client = self.slow_client if rest_s else self.client
        increments = client.generate_stream(
            prompt.model,
            prompt.text,
            prefix=prompt.prefix,
            max_tokens=most,
            attention=attention,
            whole_attention=attention,
            timeout_s=PATIENT_S,
        )
        ids: list[int] = []
        version = 0
        async with aclosing(increments):
            async for number, increment in _numbered(increments):
                if increment.start is not None:
                    version = increment.start.model.version
                ids += [token.id for token in increment.tokens]
                if increment.end is not None:
                    self._hold(prompt, version, most, tuple(ids), increment.end.finish_reason == "end")
                    return "OK"
                if number == leaves_after:
                    break
                if rest_s and number % 50 == 1:
                    await asyncio.sleep(rest_s)
        expected, _ = prompt.expected(version, most)
        if tuple(ids) != expected[: len(ids)]:
            self.outcomes.wrong.append(f"{prompt.model} {version} began with {ids}, not with {expected}")
        return "LEFT"

    def _hold(self, prompt: Prompt, version: int, most: int, ids: tuple[int, ...], ended: bool) -> None:
        self.outcomes.tokens += len(ids)
        self.outcomes.versions.add((prompt.model, version))
        if (ids, ended) != prompt.expected(version, most):
            expected = prompt.expected(version, most)
            self.outcomes.wrong.append(f"{prompt.model} {version}, {most} tokens: {ids}, {ended}, not {expected}")


async def _numbered(increments):  # type: ignore[no-untyped-def]
    number = 0
    async for increment in increments:
        yield number, increment
        number += 1
