"""Which words of a text the model looked at, from attention over tokens."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from attendant.attention import AttentionMap, Token, Tokens

# A word is a run of letters, digits and underscores; any other visible character stands alone.
_WORD = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True, slots=True)
class WordWeight:
    """A word, the code points [start, end) where it stands in the text, and how much it was looked at."""

    word: str
    start: int
    end: int
    weight: float


def word_weights(attention: AttentionMap, text: str, segment: int = 0) -> tuple[WordWeight, ...]:
    """The weight of each word of `text`, in its order: the sum over its tokens of their mean over all queries.

    The weights are not rescaled: what they lack to one lies on special tokens, which stand for no word. Words that
    truncation cut off weigh 0. `segment` chooses the text, for inputs of more than one.
    Raises ValueError if the keys are no tokens.
    """
    if not isinstance(attention.key, Tokens):
        raise ValueError(f"the keys of attention {attention.name!r} are not tokens of a text")
    spans = [(match.start(), match.end()) for match in _WORD.finditer(text)]
    weights = [0.0] * len(spans)
    for token, weight in zip(attention.key.tokens, attention.key_weights().tolist(), strict=True):
        if token.segment == segment:
            for word, share in _shares(token, spans):
                weights[word] += weight * share
    return tuple(
        WordWeight(text[start:end], start, end, weight) for (start, end), weight in zip(spans, weights, strict=True)
    )


def _shares(token: Token, spans: list[tuple[int, int]]) -> Iterator[tuple[int, float]]:
    """The words that a token covers and the share of its characters on each; spaces count for none."""
    first = bisect_right(spans, token.start, key=lambda span: span[1])
    last = bisect_left(spans, token.end, key=lambda span: span[0])
    covered = [(word, min(spans[word][1], token.end) - max(spans[word][0], token.start)) for word in range(first, last)]
    total = sum(overlap for _, overlap in covered)
    return ((word, overlap / total) for word, overlap in covered)
