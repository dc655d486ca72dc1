"""What a generation gives its caller: increments while it goes on, and the whole at its end."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Weights = NDArray[np.float32]


class FinishReason(StrEnum):
    """Why a text ended; failures are errors and not among these."""

    END = "end"
    """The model wrote a token that ends the text."""
    STOP = "stop"
    """A stop string came."""
    LENGTH = "length"
    """`max_tokens` were written, or the model takes no more positions."""


class TopToken(NamedTuple):
    """A token that could have been chosen."""

    id: int
    logprob: float


@dataclass(slots=True, eq=False, kw_only=True)
class Increment:
    """What one or more steps added to a text. Joined, the texts of all increments are the text of the result."""

    ids: tuple[int, ...]
    """The new tokens. The last increment may have none. A token that ends the text is not among them."""
    text: str
    """What is certain of the text by now: never half a character, never part of what may become a stop string."""
    logprobs: tuple[float, ...] = ()
    """One a token, where asked for."""
    top: tuple[tuple[TopToken, ...], ...] = ()
    """One entry a token, likeliest first, where asked for."""
    attention: Mapping[str, Weights] | None = None
    """By the step graph's output: [1, heads, new tokens, keys]; `keys` of the source, or of all written so far."""
    finish: FinishReason | None = None
    """Set in the last increment."""
    at_s: float = 0.0
    """Seconds from the request's admission until the last of these tokens was there."""


@dataclass(slots=True, eq=False, kw_only=True)
class Sequence:
    """One whole text."""

    ids: tuple[int, ...]
    """What was written after the prompt and the prefix, without the token that ends the text."""
    text: str
    finish: FinishReason
    score: float
    """The log probability of the tokens, that of the end included; with beams, over the length to the penalty."""
    logprobs: tuple[float, ...] = ()
    top: tuple[tuple[TopToken, ...], ...] = ()
    attention: Mapping[str, Weights] | None = None
    """By the step graph's output: [1, heads, tokens, keys]; keys that were not yet written have weight 0."""


@dataclass(slots=True, eq=False, kw_only=True)
class GenerationTiming:
    """How a generation fared, in seconds."""

    queue_s: float
    """From admission until it joined the running batch."""
    first_token_s: float
    """From admission until its first token was there."""
    compute_s: float
    """All runs that it was part of, encoding and prefill included."""
    steps: int
    """Decoding steps that it was part of."""
    batch_rows: int
    """The most rows that ran together in one of them."""


@dataclass(slots=True, eq=False, kw_only=True)
class Generated:
    """The whole answer to one request."""

    sequences: tuple[Sequence, ...]
    """Best first; one but for beams."""
    prompt_tokens: int
    """Tokens read: source or prompt, and prefix; not the start token."""
    timing: GenerationTiming
