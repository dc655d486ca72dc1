"""Attention maps: how to ask for them, and where the model looked according to them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from attendant.errors import ServerError
from attendant.v1 import attention_pb2

Weights: TypeAlias = npt.NDArray[np.float32]

Reduction: TypeAlias = Literal["none", "mean_heads", "mean", "max", "rollout"]
"""How layers and heads become one map; `rollout` multiplies the layers up (Abnar & Zuidema 2020)."""

_REDUCTIONS: dict[Reduction, attention_pb2.Reduction] = {
    "none": attention_pb2.REDUCTION_UNSPECIFIED,
    "mean_heads": attention_pb2.REDUCTION_MEAN_HEADS,
    "mean": attention_pb2.REDUCTION_MEAN,
    "max": attention_pb2.REDUCTION_MAX,
    "rollout": attention_pb2.REDUCTION_ROLLOUT,
}
_REDUCTION_NAMES: dict[int, Reduction] = {number: name for name, number in _REDUCTIONS.items()}


@dataclass(frozen=True, slots=True)
class Attention:
    """Which weights to return: empty `names`, `layers` and `heads` mean all of them.

    `top_k` keeps only the largest weights of each query, after the reduction; 0 keeps all keys.
    """

    names: Sequence[str] = ()
    layers: Sequence[int] = ()
    heads: Sequence[int] = ()
    reduction: Reduction = "none"
    top_k: int = 0


@dataclass(frozen=True, slots=True)
class Token:
    """A token and the code points [start, end) of the text that it stands for; none for a special token."""

    text: str
    start: int
    end: int
    segment: int = 0
    """Which text of the input it belongs to, for inputs of more than one."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """An axis whose positions are tokens."""

    tokens: tuple[Token, ...]

    def __len__(self) -> int:
        return len(self.tokens)


@dataclass(frozen=True, slots=True)
class Cells:
    """An axis whose positions are the cells of a grid over an image, row by row, after `leading` others."""

    rows: int
    columns: int
    leading: int = 0

    def __len__(self) -> int:
        return self.leading + self.rows * self.columns


Axis: TypeAlias = Tokens | Cells | None
"""What the positions of an axis stand for; None where the model does not say."""


@dataclass(frozen=True, slots=True, eq=False)
class AttentionMap:
    """The weights of one attention for one input: who looked (query) at what (key).

    `weights` is float32 with axes layers and heads, each present only where it was not reduced (`layers` and `heads`
    then number its entries), then queries, then keys. With top-k the last axis holds each query's chosen keys in
    falling order, and `key_indices` of the same shape says which they are.
    """

    name: str
    reduction: Reduction
    layers: tuple[int, ...]
    heads: tuple[int, ...]
    query: Axis
    key: Axis
    weights: Weights
    key_indices: npt.NDArray[np.uint32] | None = None

    def dense(self) -> Weights:
        """The weights over all keys, zero where top-k left them out: [layers?, heads?, queries, keys].

        Without labels on the key axis it ends at the last key that any query chose.
        """
        if self.key_indices is None:
            return self.weights
        keys = len(self.key) if self.key is not None else int(self.key_indices.max(initial=0)) + 1
        full = np.zeros((*self.weights.shape[:-1], keys), np.float32)
        np.put_along_axis(full, self.key_indices.astype(np.intp), self.weights, axis=-1)
        return full

    def key_weights(self) -> Weights:
        """How much each key was looked at: the mean over layers, heads and queries, [keys]."""
        dense = self.dense()
        mean: Weights = dense.reshape(-1, dense.shape[-1]).mean(axis=0, dtype=np.float32)
        return mean

    def cell_weights(self) -> Weights:
        """How much each cell of the image was looked at, [rows, columns]; leading positions are left out.

        Raises ValueError if the keys are no cells.
        """
        if not isinstance(self.key, Cells):
            raise ValueError(f"the keys of attention {self.name!r} are not cells of an image")
        return self.key_weights()[self.key.leading :].reshape(self.key.rows, self.key.columns)


def attention_request(wanted: bool | Attention | None) -> attention_pb2.AttentionRequest | None:
    """The message that asks for attention; None where none is wanted.

    True asks for one map per attention, the mean over layers and heads: small enough for any input, and defined for
    every model. Raises ValueError for an unknown reduction or a negative number.
    """
    if wanted is None or wanted is False:
        return None
    chosen = Attention(reduction="mean") if wanted is True else wanted
    if chosen.reduction not in _REDUCTIONS:
        raise ValueError(f"reduction must be one of {', '.join(_REDUCTIONS)}, not {chosen.reduction!r}")
    return attention_pb2.AttentionRequest(
        names=chosen.names,
        layers=chosen.layers,
        heads=chosen.heads,
        reduction=_REDUCTIONS[chosen.reduction],
        top_k=chosen.top_k,
    )


def parse_attention(message: attention_pb2.AttentionMap) -> AttentionMap:
    """Reads one map; its arrays are read-only views of the reply.

    Raises ServerError if the map contradicts itself.
    """
    shape = tuple(message.shape)
    weights = _array(message.name, message.weights, "<f4", shape)
    indices = _array(message.name, message.key_indices, "<u4", shape) if message.key_indices else None
    parsed = AttentionMap(
        name=message.name,
        reduction=_REDUCTION_NAMES.get(message.reduction, "none"),
        layers=tuple(message.layers),
        heads=tuple(message.heads),
        query=parse_axis(message.query),
        key=parse_axis(message.key),
        weights=weights.astype(np.float32, copy=False),
        key_indices=None if indices is None else indices.astype(np.uint32, copy=False),
    )
    _check_axes(parsed)
    return parsed


def parse_axis(labels: attention_pb2.AxisLabels) -> Axis:
    """Reads what the positions of an axis stand for."""
    kind = labels.WhichOneof("labels")
    if kind == "tokens":
        return Tokens(tuple(Token(each.text, each.start, each.end, each.segment) for each in labels.tokens.tokens))
    if kind == "cells":
        return Cells(labels.cells.rows, labels.cells.columns, labels.cells.leading)
    return None


def _check_axes(parsed: AttentionMap) -> None:
    """Labels must fit the weights, so that no later step has to doubt them."""
    *_, queries, keys = parsed.weights.shape
    if parsed.query is not None and len(parsed.query) != queries:
        raise ServerError(f"attention {parsed.name!r}: {len(parsed.query)} labels for {queries} queries")
    if parsed.key is None:
        return
    if parsed.key_indices is None and len(parsed.key) != keys:
        raise ServerError(f"attention {parsed.name!r}: {len(parsed.key)} labels for {keys} keys")
    if parsed.key_indices is not None and parsed.key_indices.max(initial=0) >= len(parsed.key):
        raise ServerError(f"attention {parsed.name!r}: a key index is past the {len(parsed.key)} keys")


def _array(name: str, content: bytes, dtype: str, shape: tuple[int, ...]) -> npt.NDArray[np.generic]:
    if len(shape) < 2 or len(content) != 4 * math.prod(shape):
        raise ServerError(f"attention {name!r}: {len(content)} bytes do not fill shape {list(shape)}")
    return np.frombuffer(content, dtype).reshape(shape)
