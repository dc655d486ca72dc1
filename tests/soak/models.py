"""What is served: three tiny models in two states of training, published again and again; and what each must write."""

import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch

from models.networks import Stepwise
from models.tasks.decoding import Decoded, beam_search, greedy
from tests.support.generative import (
    VOCABULARY,
    publish_tiny_language_model,
    publish_tiny_recurrent,
    publish_tiny_translator,
)

MARGIN = 1e-4
"""A text in which two scores came nearer to each other is not asked for."""
STATES = 2
"""Version 1, 3, 5, … have the weights of the first, version 2, 4, … those of the second."""
BEAMS, BEAM_TOKENS = 3, 10
LANGUAGE_MODEL = "tiny-language-model"
PUBLISH = {
    "tiny-translator": lambda store, seed: publish_tiny_translator(store, seed=seed, max_len=64, max_target_len=64),
    "tiny-recurrent": lambda store, seed: publish_tiny_recurrent(store, seed=seed),
    # Long texts with attention fill the buffers between server and caller.
    LANGUAGE_MODEL: lambda store, seed: publish_tiny_language_model(store, seed=seed, max_len=320),
}


@dataclass(frozen=True)
class Prompt:
    """What is read, and what each version writes after it."""

    model: str
    text: str
    prefix: str
    greedy: tuple[Decoded, ...]
    """By state of training; as long as may be."""
    beams: tuple[Decoded, ...]
    room: int
    """The most tokens that can be written."""

    def expected(self, version: int, max_tokens: int) -> tuple[tuple[int, ...], bool]:
        """(ids that greedy decoding writes, whether the model ends them) in a version."""
        (text,) = self.greedy[(version - 1) % STATES].texts
        return text.ids[:max_tokens], text.ended and len(text.ids) < max_tokens


@dataclass
class Models:
    """The store, and the bundles that new versions are copied from."""

    store: Path
    bundles: dict[str, list[Path]] = field(default_factory=dict)
    prompts: list[Prompt] = field(default_factory=list)
    newest: dict[str, int] = field(default_factory=dict)

    def publish_next(self, name: str) -> int:
        """A new version of one model, whole from the moment that it is there; the last but one goes."""
        version = self.newest.get(name, 0) + 1
        draft = self.store.parent / f"{name}-{version}"
        shutil.copytree(self.bundles[name][(version - 1) % STATES], draft)
        (self.store / name).mkdir(parents=True, exist_ok=True)
        draft.rename(self.store / name / str(version))
        shutil.rmtree(self.store / name / str(version - 2), ignore_errors=True)
        self.newest[name] = version
        return version


def prepare(folder: Path, prompts: int, seed: int) -> Models:
    """Publishes version 1 of each model into `<folder>/store`, and makes so many prompts of each."""
    made, rng = Models(folder / "store"), random.Random(seed)
    for name, publish in PUBLISH.items():
        published = [publish(folder / "states" / str(state), state) for state in range(STATES)]
        made.bundles[name] = [one.directory for one in published]
        made.publish_next(name)
        networks = [one.network for one in published]
        candidates = _prompts(name, networks, rng)
        made.prompts += [next(candidates) for _ in range(prompts)]
    return made


def _prompts(name: str, networks: list[Stepwise], rng: random.Random) -> Iterator[Prompt]:
    """Prompts on which rounding decides nothing."""
    while True:
        words = [rng.randint(3, VOCABULARY - 1) for _ in range(rng.randint(1, 12))]
        prefix = [rng.randint(3, VOCABULARY - 1) for _ in range(rng.choice([0, 0, 3]))]
        expected = [_written(network, words, prefix) for network in networks]
        if all(decoded.margin > MARGIN for both in expected for decoded in both):
            greedily, beams = zip(*expected, strict=True)
            yield Prompt(
                name,
                _text(words),
                _text(prefix),
                greedily,
                beams,
                _room(networks[0], _given(networks[0], words, prefix)),
            )


def _written(network: Stepwise, words: list[int], prefix: list[int]) -> tuple[Decoded, Decoded]:
    ids = torch.tensor([words])
    inputs = (ids, torch.ones_like(ids, dtype=torch.bool)) if network.encodes else ()
    given = _given(network, words, prefix)
    room = _room(network, given)
    longest = greedy(network, inputs, prefix=given, max_tokens=room)
    beams = beam_search(
        network, inputs, prefix=given, num_beams=BEAMS, num_sequences=BEAMS, max_tokens=min(room, BEAM_TOKENS)
    )
    return longest, beams


def _given(network: Stepwise, words: list[int], prefix: list[int]) -> list[int]:
    return prefix if network.encodes else [*words, *prefix]


def _room(network: Stepwise, given: list[int]) -> int:
    return network.generation.max_length - len(network.generation.start) - len(given)


def _text(words: list[int]) -> str:
    return " ".join(f"w{word}" for word in words)
