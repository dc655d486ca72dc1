"""Attention maps between the wire and the runtime's reductions."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from attendant.v1 import attention_pb2 as wire

from server.codecs.codec import EncodedRow, Token
from server.errors import ParameterInvalid
from server.manifest import CellAxis, TokenAxis
from server.rpc.rows import lengths_of
from server.runtime.attention_maps import (
    AttentionMap,
    AttentionQuery,
    Reduction,
    attention_maps,
    check_size,
    outputs_needed,
)
from server.servable import Servable
from server.tensors import Array

MAX_CHOICES = 1024
"""The most names, layers or heads in one query; no model has as many."""

REDUCTIONS: Mapping["wire.Reduction", Reduction] = {
    wire.REDUCTION_UNSPECIFIED: Reduction.NONE,
    wire.REDUCTION_MEAN_HEADS: Reduction.MEAN_HEADS,
    wire.REDUCTION_MEAN: Reduction.MEAN,
    wire.REDUCTION_MAX: Reduction.MAX,
    wire.REDUCTION_ROLLOUT: Reduction.ROLLOUT,
}
_WIRE_REDUCTIONS = {reduction: number for number, reduction in REDUCTIONS.items()}


class AttentionObserver(Protocol):
    """Told when a call asks for attention."""

    def attention_requested(self, model: str, version: int) -> None:
        """Once a call, after it was found valid."""
        ...


class AttentionChoice:
    """What one call wants to see of the model's attention, checked against the manifest."""

    def __init__(self, servable: Servable, request: wire.AttentionRequest) -> None:
        """Raises ParameterInvalid for names, layers, heads or a reduction that do not exist or contradict."""
        self._manifest = servable.manifest
        self._query = read_query(request)
        self.outputs = outputs_needed(self._query, self._manifest)

    def check_size(self, rows: Sequence[EncodedRow], max_bytes: int) -> None:
        """Bounds the maps of all rows together before any is computed. Raises AttentionTooLarge."""
        check_size(self._query, self._manifest, [lengths_of(self._manifest, row.inputs) for row in rows], max_bytes)

    def maps(self, outputs: Mapping[str, Array], row: EncodedRow) -> list[wire.AttentionMap]:
        """The maps of one input, their axes labelled with its tokens or cells."""
        maps = attention_maps(self._query, self._manifest, outputs, 0)
        tokens = row.tokens if any(_by_tokens(one) for one in maps) else ()
        return [map_message(one, axis_labels(one.query, tokens), axis_labels(one.key, tokens)) for one in maps]


def read_query(request: wire.AttentionRequest) -> AttentionQuery:
    """What a message asks for. Raises ParameterInvalid for an unknown reduction or too many choices."""
    if max(len(request.names), len(request.layers), len(request.heads)) > MAX_CHOICES:
        raise ParameterInvalid(f"over {MAX_CHOICES} names, layers or heads in one query", {"parameter": "attention"})
    if request.reduction not in REDUCTIONS:
        raise ParameterInvalid(f"attention has no reduction {request.reduction}", {"parameter": "attention.reduction"})
    return AttentionQuery(
        names=tuple(request.names),
        layers=tuple(request.layers),
        heads=tuple(request.heads),
        reduction=REDUCTIONS[request.reduction],
        top_k=request.top_k,
    )


def map_message(one: AttentionMap, query: wire.AxisLabels, key: wire.AxisLabels) -> wire.AttentionMap:
    """The message; arrays go out little-endian, whatever this machine is."""
    return wire.AttentionMap(
        name=one.name,
        reduction=_WIRE_REDUCTIONS[one.reduction],
        layers=one.layers if one.reduction in (Reduction.NONE, Reduction.MEAN_HEADS) else (),
        heads=one.heads if one.reduction is Reduction.NONE else (),
        query=query,
        key=key,
        shape=one.weights.shape,
        weights=one.weights.astype("<f4", copy=False).tobytes(),
        key_indices=b"" if one.key_indices is None else one.key_indices.astype("<u4", copy=False).tobytes(),
    )


def axis_labels(axis: TokenAxis | CellAxis, tokens: Sequence[Token]) -> wire.AxisLabels:
    """What an axis stands for: cells, or these tokens; nothing where there are none."""
    if isinstance(axis, CellAxis):
        return wire.AxisLabels(cells=wire.Cells(rows=axis.rows, columns=axis.columns))
    if not tokens:
        return wire.AxisLabels()
    return wire.AxisLabels(
        tokens=wire.Tokens(tokens=[wire.Token(text=each.text, start=each.start, end=each.end) for each in tokens])
    )


def _by_tokens(one: AttentionMap) -> bool:
    return isinstance(one.query, TokenAxis) or isinstance(one.key, TokenAxis)
