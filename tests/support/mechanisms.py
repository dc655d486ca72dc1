"""What a caller sends to the bare mechanisms, and the formulas in float64 that say what must come back."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Given = Mapping[str, NDArray[np.generic]]

FAMILY = (
    "attend",
    "attend-additive",
    "attend-bilinear",
    "attend-concat",
    "attend-dot",
    "attend-linear",
    "attend-multi-head",
)
FIELDS = ("query", "key", "value", "mask")


def made_up(model: str, rng: np.random.Generator, queries: int, keys: int, *, width: int = 4, masked: bool = False):
    """One input of a mechanism: normal numbers, and a mask where asked for; two heads where there are heads."""
    hidden, value_width = 5, 3
    shapes = {
        "attend-additive": {"project_query": (width, hidden), "project_key": (width, hidden), "combine": (hidden,)},
        "attend-bilinear": {"weight": (width, width)},
        "attend-concat": {"weight": (2, width, hidden), "combine": (hidden,)},
        "attend-multi-head": {
            "project_query": (2, width, hidden),
            "project_key": (2, width, hidden),
            "project_value": (2, value_width, 2),
            "project_context": (2, 2, width),
        },
    }.get(model, {})
    shapes |= {"query": (queries, width), "key": (keys, width), "value": (keys, value_width)}
    given = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    return given | ({"mask": rng.random((queries, keys)) < 0.5} if masked else {})


def expected(model: str, given: Given) -> tuple[Floats, Floats]:
    """Context and weights, by the formula."""
    exact = {name: array if name == "mask" else array.astype(np.float64) for name, array in given.items()}
    q, k, v = exact["query"], exact["key"], exact["value"]
    mask = exact.get("mask", np.ones((len(q), len(k)), dtype=bool))
    if model == "attend-linear":
        products = np.where(mask, _phi(q) @ _phi(k).T, 0)
        weights = _normalised(products)
        return weights @ v, weights
    if model == "attend-multi-head":
        heads = range(len(exact["project_query"]))
        projected = [[x @ exact[f"project_{n}"][h] for n, x in (("query", q), ("key", k))] for h in heads]
        weights = np.stack([_softmax(a @ b.T / np.sqrt(a.shape[1]), mask) for a, b in projected])
        mixed = [weights[h] @ v @ exact["project_value"][h] @ exact["project_context"][h] for h in heads]
        return np.sum(mixed, axis=0), weights
    weights = _softmax(_scores(model, exact), mask)
    return weights @ v, weights


def _scores(model: str, given: Mapping[str, Floats]) -> Floats:
    q, k = given["query"], given["key"]
    if model in ("attend", "attend-dot"):
        return q @ k.T / (np.sqrt(q.shape[1]) if model == "attend" else 1)
    if model == "attend-bilinear":
        return q @ given["weight"] @ k.T
    if model == "attend-additive":
        over_query, over_key = given["project_query"], given["project_key"]
    else:
        over_query, over_key = given["weight"]
    return np.tanh((q @ over_query)[:, None] + (k @ over_key)[None]) @ given["combine"]


def _softmax(scores: Floats, mask: NDArray[np.generic]) -> Floats:
    return _normalised(np.where(mask, np.exp(scores - scores.max()), 0))


def _normalised(numbers: Floats) -> Floats:
    """Each row to a sum of one; a row of zeros stays one."""
    totals = numbers.sum(axis=-1, keepdims=True)
    return numbers / np.where(totals == 0, 1, totals)


def _phi(x: Floats) -> Floats:
    """elu(x) + 1."""
    return np.where(x > 0, x + 1, np.exp(np.minimum(x, 0)))
