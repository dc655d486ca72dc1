"""What a served model writes, alone and in a crowd that joins at random, against PyTorch's own loop.

Where two scores were so close that rounding could have decided between them, nothing is held against anything; such
texts are counted, and must stay few.
"""

import asyncio
from collections.abc import Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.shapes.writing import Writer, publish_writer
from models.networks import Stepwise
from models.registry import MODELS
from models.tasks.decoding import Decoded, beam_search, greedy
from server.generation.decoding import Decoding
from server.generation.servable import Generative
from tests.support.catalogued import QUIET_EXPORT
from tests.support.generative import (
    SAMPLES,
    VOCABULARY,
    publish_tiny_language_model,
    publish_tiny_recurrent,
    publish_tiny_translator,
)
from tests.support.serving import serving

MARGIN = 5e-5
"""Two computations of one network differ by less; so do the scores of whole texts, by a little more."""
FEW = 0.2
"""The share of texts that may be too close to call."""
FIRST_WORD = 3

pytestmark = [pytest.mark.filterwarnings(line) for line in QUIET_EXPORT]


def _registered() -> list[str]:
    """The registered models that write."""
    with torch.device("meta"):
        return sorted(
            name
            for name, model in MODELS.items()
            if hasattr(model, "tiny") and isinstance(model.task.build(model.tiny), Stepwise)
        )


def _publish_registered(name: str) -> Callable[[Path], Stepwise]:
    def publish(store: Path) -> Stepwise:
        model = MODELS[name]
        sizes = {field: VOCABULARY for field in ("vocab_size", "target_vocab_size") if hasattr(model.tiny, field)}
        config = replace(model.tiny, **sizes)
        length = config.max_len - (0 if "target_vocab_size" in sizes else 2)
        writer = Writer(name, model.task.name, model.task.build, config, SAMPLES, length)
        with TemporaryDirectory() as scratch:
            return publish_writer(writer, Path(scratch), store, seed=2).network

    return publish


PUBLISHED: dict[str, Callable[[Path], Stepwise]] = {
    "tiny-translator": lambda store: publish_tiny_translator(store).network,
    "tiny-recurrent": lambda store: publish_tiny_recurrent(store).network,
    "tiny-language-model": lambda store: publish_tiny_language_model(store).network,
    **{name: _publish_registered(name) for name in _registered()},
}


@dataclass(frozen=True)
class Asked:
    """One text that a caller wants."""

    words: tuple[int, ...]
    prefix: tuple[int, ...]
    max_tokens: int
    min_tokens: int = 0
    num_beams: int = 1
    length_penalty: float = 1.0
    turns: int = 0
    """Turns of the event loop after which it comes."""
    streamed: bool = False


@dataclass
class Served:
    """A model that is served, and the network that it was made from."""

    network: Stepwise
    runner: asyncio.Runner
    writer: Generative
    compared: int = 0
    close: list[tuple[Asked, float]] = field(default_factory=list)

    def write_and_check(self, *texts: Asked) -> None:
        """Asks for all of them together, and holds each against PyTorch."""
        self.runner.run(self._write_all(texts))

    async def _write_all(self, texts: tuple[Asked, ...]) -> None:
        await asyncio.gather(*(self._write(text) for text in texts))

    async def _write(self, asked: Asked) -> None:
        for _ in range(asked.turns):
            await asyncio.sleep(0)
        row = await self.writer.encode(" ".join(f"w{word}" for word in asked.words))
        beams = asked.num_beams
        decoding = Decoding(
            max_tokens=asked.max_tokens,
            min_tokens=asked.min_tokens,
            num_beams=beams,
            num_sequences=beams,
            length_penalty=asked.length_penalty,
        )
        generation = self.writer.begin(row, decoding, prefix=asked.prefix, request_id="r", streamed=asked.streamed)
        streamed = [token async for increment in generation for token in increment.ids] if asked.streamed else []
        found = (await generation.result()).sequences
        assert not asked.streamed or tuple(streamed) == found[0].ids
        self._compare(asked, found, self._expected(asked))

    def _compare(self, asked, found, expected: Decoded) -> None:
        if expected.margin <= MARGIN:
            self.close.append((asked, expected.margin))
            return
        self.compared += 1
        assert [sequence.ids for sequence in found] == [text.ids for text in expected.texts], asked
        assert [sequence.finish == "end" for sequence in found] == [text.ended for text in expected.texts], asked
        assert [sequence.score for sequence in found] == pytest.approx(
            [text.score for text in expected.texts], abs=10 * MARGIN
        )

    def _expected(self, asked: Asked) -> Decoded:
        words, prefix = torch.tensor([asked.words]), asked.prefix
        inputs = (words, torch.ones_like(words, dtype=torch.bool)) if self.network.encodes else ()
        prefix = prefix if self.network.encodes else (*asked.words, *prefix)
        lengths = {"max_tokens": asked.max_tokens, "min_tokens": asked.min_tokens}
        if asked.num_beams == 1:
            return greedy(self.network, inputs, prefix=prefix, **lengths)
        beams = {"num_beams": asked.num_beams, "num_sequences": asked.num_beams}
        return beam_search(self.network, inputs, prefix=prefix, length_penalty=asked.length_penalty, **beams, **lengths)


@asynccontextmanager
async def _served(store: Path, name: str):
    async with serving(store, runtime={"cores": 2}) as server:
        yield server.application.registry.resolve(name)


@pytest.fixture(scope="module", params=PUBLISHED.values(), ids=PUBLISHED.keys())
def served(request, tmp_path_factory):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    store = tmp_path_factory.mktemp("store")
    network = request.param(store)
    (name,) = (entry.name for entry in store.iterdir())
    with asyncio.Runner() as runner:
        context = _served(store, name)
        made = Served(network, runner, runner.run(context.__aenter__()))
        yield made
        states = made.writer.states
        runner.run(context.__aexit__(None, None, None))
    torch.set_num_threads(threads)
    assert all(state.slots_used == state.waiting == 0 for state in states)
    assert len(made.close) <= FEW * (made.compared + len(made.close)), made.close


word = st.integers(FIRST_WORD, VOCABULARY - 1)
texts = st.builds(
    Asked,
    words=st.lists(word, min_size=1, max_size=10).map(tuple),
    prefix=st.lists(word, max_size=4).map(tuple),
    max_tokens=st.integers(1, 12),
    min_tokens=st.sampled_from([0, 0, 1]),
    num_beams=st.sampled_from([1, 1, 1, 2, 4]),
    length_penalty=st.just(1.0),
    turns=st.integers(0, 200),
    streamed=st.booleans(),
)


def check_alone(served, *asked):
    for text in asked:
        served.write_and_check(text)


def test_a_text_alone_is_what_pytorch_writes(served):
    check_alone(
        served,
        *(
            Asked(words, prefix, max_tokens)
            for words in ((5,), (7, 3, 30, 11), (4,) * 10)
            for prefix in ((), (9,), (6, 28, 3))
            for max_tokens in (1, 12)
        ),
    )


@pytest.mark.parametrize("length_penalty", [0.0, 1.0, 2.0])
def test_beams_alone_are_what_pytorch_follows(served, length_penalty):
    check_alone(
        served,
        *(
            Asked(words, prefix, 8, num_beams=beams, length_penalty=length_penalty)
            for words in ((5,), (7, 3, 30, 11))
            for prefix in ((), (6, 28))
            for beams in (2, 4)
        ),
    )


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(crowd=st.lists(texts, min_size=1, max_size=16))
def test_whoever_joins_when_each_text_is_what_pytorch_writes(served, crowd):
    served.write_and_check(*crowd)
