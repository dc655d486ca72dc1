"""From a graph's attention outputs to the maps that a caller asked for: chosen, reduced, cut to the strongest keys.

Pure numpy, no wire. Attention outputs are [row, head, query, key], one a layer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from server.errors import InferenceFailed, ParameterInvalid
from server.manifest import CellAxis, Manifest, OutputSpec, TokenAxis
from server.runtime.attention_query import AttentionQuery, Choice, Reduction, check_size, choose, outputs_needed
from server.tensors import Array, Datatype, bf16_to_float32

__all__ = ["AttentionMap", "AttentionQuery", "Reduction", "attention_maps", "check_size", "outputs_needed"]

Weights = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class AttentionMap:
    """The weights of one mechanism for one row of a request."""

    name: str
    layers: tuple[int, ...]
    """The layers shown or reduced over."""
    heads: tuple[int, ...]
    """The heads shown or reduced over."""
    reduction: Reduction
    query: TokenAxis | CellAxis
    key: TokenAxis | CellAxis
    weights: Weights
    """[layers, heads, query, key], less the axes that the reduction removes; with `key_indices` the last axis holds
    the strongest keys only, by falling weight."""
    key_indices: NDArray[np.uint32] | None = None
    """With top-k: the key of each weight, in the shape of `weights`; equal weights stand by rising index."""


def attention_maps(
    query: AttentionQuery, manifest: Manifest, outputs: Mapping[str, Array], row: int
) -> tuple[AttentionMap, ...]:
    """The maps of one row, one a mechanism, in the order of the query's names or else of the manifest.

    `outputs` hold [rows, heads, queries, keys] per layer, cropped to the request's own lengths.
    Raises what `outputs_needed` raises, and InferenceFailed if an output does not have these four axes.
    """
    return tuple(_map(query, choice, outputs, row) for choice in choose(query, manifest))


def _map(query: AttentionQuery, choice: Choice, outputs: Mapping[str, Array], row: int) -> AttentionMap:
    layers = [_layer(query, choice, output, outputs[output.name], row) for output in choice.outputs]
    heads = query.heads or tuple(range(max(len(layer) for layer in layers)))
    weights, indices = _strongest(_reduce(query.reduction, layers), query.top_k)
    spec = choice.spec
    return AttentionMap(
        spec.name, choice.layers, heads, query.reduction, spec.query, spec.key, weights=weights, key_indices=indices
    )


def _layer(query: AttentionQuery, choice: Choice, output: OutputSpec, held: Array, row: int) -> Weights:
    """One row's weights in one layer: [chosen heads, query, key]."""
    if held.ndim != 4:
        raise InferenceFailed(f"attention output {output.name!r} has {held.ndim} axes, not row, head, query and key")
    own = held[row]
    if any(head >= len(own) for head in query.heads):
        raise ParameterInvalid(f"no head {max(query.heads)} in attention {choice.spec.name!r}; it has {len(own)}")
    chosen = own[list(query.heads)] if query.heads else own
    if output.datatype is Datatype.BF16:
        return bf16_to_float32(chosen.astype(np.uint16, copy=False))
    weights: Weights = chosen.astype(np.float32)
    return weights


def _reduce(reduction: Reduction, layers: Sequence[Weights]) -> Weights:
    """Layers of [heads, query, key] to the shape that `Reduction` tells."""
    match reduction:
        case Reduction.NONE:
            return np.stack(layers)
        case Reduction.MEAN_HEADS:
            return np.stack([layer.mean(axis=0) for layer in layers])
        case Reduction.MEAN:
            mean: Weights = np.concatenate(layers).mean(axis=0)
            return mean
        case Reduction.MAX:
            largest: Weights = np.concatenate(layers).max(axis=0)
            return largest
        case Reduction.ROLLOUT:
            return _rollout(np.stack([layer.mean(axis=0) for layer in layers]))


def _rollout(layers: Weights) -> Weights:
    """Attention rollout (Abnar and Zuidema 2020, section 3): [layers, positions, positions] -> [positions, positions].

    The residual connection carries half of each position past the attention; a product of such layers traces how
    much of every input position reaches every position of the last layer.
    """
    identity: Weights = np.eye(layers.shape[-1], dtype=np.float32)
    rollout = identity
    for layer in layers:
        mixed = np.float32(0.5) * layer + np.float32(0.5) * identity
        rollout = (mixed / mixed.sum(axis=-1, keepdims=True)) @ rollout
    return rollout


def _strongest(weights: Weights, top_k: int) -> tuple[Weights, NDArray[np.uint32] | None]:
    """The `top_k` largest weights along the last axis and where they stood; all of them, still sorted, if fewer."""
    if not top_k:
        return weights, None
    keys = weights.shape[-1]
    kept = min(top_k, keys)
    # A partition first: sorting whole rows of a long input costs several times as much.
    found = np.argpartition(-weights, kept - 1, axis=-1)[..., :kept] if kept < keys else _all_keys(weights.shape)
    found = np.sort(found, axis=-1)
    order = np.argsort(-np.take_along_axis(weights, found, axis=-1), axis=-1, kind="stable")
    indices = np.take_along_axis(found, order, axis=-1)
    return np.take_along_axis(weights, indices, axis=-1), indices.astype(np.uint32)


def _all_keys(shape: tuple[int, ...]) -> NDArray[np.intp]:
    return np.broadcast_to(np.arange(shape[-1], dtype=np.intp), shape)
