"""What verification makes a model write: continuations of the real samples, and made-up tokens after made-up sources.

A case is texts that are written side by side, and of each how many tokens are fed to it by itself before it joins the
others, so that rows of different lengths meet.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.export.cases import generated_cases
from models.export.rows import Row
from models.export.stepwise import generation_of
from models.export.walk import Walker
from models.networks.stepwise import INPUT_IDS, TOKENS
from models.tasks.task import Signature

MOST_TOKENS = 12
"""Of a made-up text after a source; one goes to the end of what the model takes."""
CONTINUED = 6
"""Tokens that are written on behind a sample."""


class Case(NamedTuple):
    """Texts that are written side by side, and how many tokens of each are fed to it by itself at first."""

    rows: tuple[Row, ...]
    held: tuple[int, ...]


def sample_texts(walker: Walker, samples: Sequence[Row]) -> tuple[Row, ...]:
    """The samples, each with the tokens that the graphs themselves write, the likeliest each time."""
    texts = []
    for sample in samples:
        begun = begin_text(walker.signature, sample)
        written = walker.write([begun], CONTINUED)[0]
        tokens = np.concatenate([begun[TOKENS], np.array([written], np.int64)], axis=1)
        texts.append({**begun, TOKENS: tokens[:, : walker.generation.max_length]})
    return tuple(texts)


def begin_text(signature: Signature, sample: Row) -> Row:
    """A sample with the tokens that stand before anything is written: the start, and without a source the sample's."""
    generation = generation_of(signature)
    start = np.array([generation.start], np.int64)
    if _encodes(signature):
        return {**sample, TOKENS: start}
    tokens = np.concatenate([start, sample[INPUT_IDS].astype(np.int64)], axis=1)
    return {TOKENS: tokens[:, : generation.max_length - 1]}


def written_cases(texts: Sequence[Row], samples: Sequence[Row], signature: Signature, seed: int) -> Iterator[Case]:
    """The texts from the start and with some tokens held; made-up texts at every size and length of `generated_cases`;
    and one that is as long as the model takes.
    """
    rng = np.random.default_rng(seed)
    yield Case(tuple(texts), (0,) * len(texts))
    yield _some_held(rng, tuple(texts))
    for sources in generated_cases(samples, signature.inputs, seed, signature.example_length):
        yield _some_held(rng, tuple(_made_up(rng, signature, source) for source in sources))
    yield _longest(rng, texts, signature)


def fewer(cases: Iterable[Case]) -> tuple[Case, ...]:
    """The texts of the samples, the longest, and every third of the others: for a graph that computes what another
    computes, which has written them all.
    """
    everything = tuple(cases)
    return (*everything[:2], *everything[2:-1:3], everything[-1])


def _made_up(rng: np.random.Generator, signature: Signature, source: Row) -> Row:
    begun = begin_text(signature, source)
    if not _encodes(signature):
        return begun
    most = min(MOST_TOKENS, generation_of(signature).max_length)
    return {**begun, TOKENS: _tokens(rng, signature, int(rng.integers(1, most + 1)))}


def _longest(rng: np.random.Generator, texts: Sequence[Row], signature: Signature) -> Case:
    """A text up to the last position, held but for its last tokens where several are fed at once, beside another."""
    generation = generation_of(signature)
    tokens = _tokens(rng, signature, generation.max_length)
    held = max(0, generation.max_length - 2) if generation.max_new > 1 else 0
    return Case(({**texts[0], TOKENS: tokens}, texts[-1]), (held, 0))


def _tokens(rng: np.random.Generator, signature: Signature, count: int) -> NDArray[np.int64]:
    """The start and random tokens behind it, int64 [1, count]; none of them ends the text or is never written."""
    generation = generation_of(signature)
    allowed = np.setdiff1d(np.arange(generation.vocab_size), [*generation.end, *generation.suppress])
    random = rng.choice(allowed, size=count)
    return np.array([[*generation.start, *random][:count]], np.int64)


def _some_held(rng: np.random.Generator, rows: tuple[Row, ...]) -> Case:
    return Case(rows, tuple(int(rng.integers(0, row[TOKENS].shape[1] + 1)) for row in rows))


def _encodes(signature: Signature) -> bool:
    return any(state.source is not None for state in signature.states)
