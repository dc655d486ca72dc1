"""Explanations made by hand, to be drawn."""

import numpy as np

from models.explain.explanation import (
    Content,
    Explanation,
    Gradient,
    HeadEffect,
    Layer,
    Mechanism,
    Missing,
    Parity,
    Scores,
)
from server.codecs import EncodedRow, Token
from server.manifest import CellAxis

TEXT = "returns the sorted rows of a matrix"
HOSTILE = '</script><b onclick="x">$\\frac{1}{$ & <!-- <script> 漢字'


def softmax(rng, *shape):
    exponentials = np.exp(rng.normal(size=shape))
    return (exponentials / exponentials.sum(axis=-1, keepdims=True)).astype(np.float32)


def text_tokens(*words):
    """Tokens of the words with a space between them, after a special one."""
    tokens, start = [Token("[CLS]", 0, 0)], 0
    for word in words:
        tokens.append(Token(word, start, start + len(word)))
        start += len(word) + 1
    return tuple(tokens)


def over_text(words, *, layers=2, heads=3):
    """Self-attention over words with everything known of it."""
    rng = np.random.default_rng(0)
    tokens = text_tokens(*words)
    count = len(tokens)
    return Mechanism(
        name="tokens",
        kind="multi-head self-attention",
        query=tokens,
        key=tokens,
        layers=tuple(Layer(n, tuple(range(heads)), softmax(rng, heads, count, count)) for n in range(layers)),
        rollout=softmax(rng, count, count),
        gradient=Gradient(tuple(softmax(rng, count, count) for _ in range(layers)), softmax(rng, count, count)),
        ablation=tuple(
            HeadEffect(n, h, 0.5 + 0.1 * n, 0.1 * n - 0.05 * h, h % 2) for n in range(layers) for h in range(heads)
        ),
    )


def across():
    """Cross-attention from words to the cells of an image: no rollout, no ablation."""
    rng = np.random.default_rng(1)
    return Mechanism(
        name="cross/1",
        kind="multi-head cross-attention",
        query=text_tokens("a", "circle"),
        key=CellAxis(rows=2, columns=3),
        layers=(Layer(0, (0, 1), softmax(rng, 2, 3, 6)),),
        rollout=Missing("queries and keys differ"),
        gradient=Gradient((softmax(rng, 3, 6),), None),
        ablation=Missing("nothing to switch off"),
    )


def explanation(*mechanisms, text=TEXT, image=None, labels=("yes", "no"), **changes):
    """A hand-made explanation of the first of its labels."""
    probabilities = np.array([0.75, *[0.25 / (len(labels) - 1)] * (len(labels) - 1)])
    fields = {
        "model": "made-up",
        "version": 3,
        "content": Content(text, image, EncodedRow({})),
        "scores": Scores(tuple(labels), probabilities),
        "label": 0,
        "parity": Parity(2e-6, 1e-4),
        "mechanisms": mechanisms or (over_text(TEXT.split()),),
    }
    return Explanation(**(fields | changes))
