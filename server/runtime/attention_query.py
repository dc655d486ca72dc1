"""What a caller may ask to see of a model's attention: checked by the manifest and weighed before anything runs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from server.errors import AttentionTooLarge, ParameterInvalid
from server.manifest import AttentionSpec, Axis, CellAxis, FixedAxis, LengthAxis, Manifest, OutputSpec, TokenAxis

_WEIGHT_BYTES = np.dtype(np.float32).itemsize
_INDEX_BYTES = np.dtype(np.uint32).itemsize


class Reduction(StrEnum):
    """How layers and heads become fewer."""

    NONE = "none"
    """[layers, heads, query, key]: every chosen layer and head."""
    MEAN_HEADS = "mean_heads"
    """[layers, query, key]: the mean over the chosen heads, per layer."""
    MEAN = "mean"
    """[query, key]: the mean over the chosen layers and heads."""
    MAX = "max"
    """[query, key]: the largest weight over the chosen layers and heads; rows no longer add up to 1."""
    ROLLOUT = "rollout"
    """[query, key]: how much of each input position reaches each output position through all layers (rollout)."""


_BY_LAYER = (Reduction.NONE, Reduction.MEAN_HEADS)
_COARSER = {Reduction.NONE: (Reduction.MEAN_HEADS, Reduction.MEAN), Reduction.MEAN_HEADS: (Reduction.MEAN,)}


@dataclass(frozen=True, slots=True)
class AttentionQuery:
    """What a caller wants to see; the default is everything."""

    names: tuple[str, ...] = ()
    """Mechanisms by the manifest's names; empty: all."""
    layers: tuple[int, ...] = ()
    """Layers from 0, in the order wanted; empty: all."""
    heads: tuple[int, ...] = ()
    """Heads from 0, in the order wanted; empty: all."""
    reduction: Reduction = Reduction.NONE
    top_k: int = 0
    """Keys to keep per query, the strongest first; 0: all keys, in order."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One mechanism with the layers that are wanted of it."""

    spec: AttentionSpec
    layers: tuple[int, ...]
    outputs: tuple[OutputSpec, ...]
    """The outputs of `layers`."""
    heads: int | None
    """Heads of a layer; None where the manifest does not tell, or layers differ."""


def outputs_needed(query: AttentionQuery, manifest: Manifest) -> tuple[str, ...]:
    """The graph outputs to fetch for `query`.

    Raises ParameterInvalid for mechanisms, layers or heads that do not exist or are named twice, and for choices that
    contradict each other, such as a rollout over cross-attention or over some layers only.
    """
    return tuple(output.name for choice in choose(query, manifest) for output in choice.outputs)


def check_size(
    query: AttentionQuery,
    manifest: Manifest,
    lengths: Mapping[str, int] | Sequence[Mapping[str, int]],
    max_bytes: int,
) -> None:
    """Bounds the maps of a reply before any work: `lengths` are the sizes of one row's length axes, or of each row's.

    Raises what `outputs_needed` raises, and AttentionTooLarge, which names the bound and a choice that fits.
    """
    rows = [lengths] if isinstance(lengths, Mapping) else lengths
    choices = choose(query, manifest)
    size = _size(query, choices, rows)
    if size <= max_bytes:
        return
    advice, metadata = _advise(query, choices, rows, max_bytes)
    raise AttentionTooLarge(
        f"the attention maps asked for take {size} bytes; at most {max_bytes} are returned; {advice}",
        {"bytes": str(size), "max_bytes": str(max_bytes), **metadata},
    )


def choose(query: AttentionQuery, manifest: Manifest) -> tuple[Choice, ...]:
    """The mechanisms and layers that `query` means. Raises what `outputs_needed` raises."""
    if query.top_k < 0:
        raise ParameterInvalid(f"top_k is {query.top_k}; it must be 0 (all keys) or more")
    for what, values in (("mechanism", query.names), ("layer", query.layers), ("head", query.heads)):
        if len(set(values)) < len(values):
            raise ParameterInvalid(f"an attention {what} is named twice")
    known = {spec.name: spec for spec in manifest.attention}
    if not known:
        raise ParameterInvalid(f"model {manifest.name} returns no attention maps")
    unknown = [name for name in query.names if name not in known]
    if unknown:
        raise ParameterInvalid(f"no attention named {unknown[0][:64]!r}; the model has: {', '.join(known)}")
    choices = tuple(_choice(query, manifest, known[name]) for name in query.names or known)
    for choice in choices:
        _check_reduction(query, choice)
    return choices


def _choice(query: AttentionQuery, manifest: Manifest, spec: AttentionSpec) -> Choice:
    count = len(spec.outputs)
    for layer in query.layers:
        if not 0 <= layer < count:
            raise ParameterInvalid(f"no layer {layer} in attention {spec.name!r}; its layers are 0 to {count - 1}")
    layers = query.layers or tuple(range(count))
    outputs = tuple(output for layer in layers if (output := manifest.output(spec.outputs[layer])) is not None)
    if any(len(output.axes) != 4 for output in outputs):
        raise ParameterInvalid(
            f"attention {spec.name!r} has no axes for heads, queries and keys: it cannot be returned"
        )
    counts = {axis.size for output in outputs if isinstance(axis := output.axes[1], FixedAxis)}
    for head in query.heads:
        if head < 0 or head >= min(counts, default=head + 1):
            raise ParameterInvalid(f"no head {head} in attention {spec.name!r}; it has {min(counts, default='some')}")
    told = all(isinstance(output.axes[1], FixedAxis) for output in outputs)
    heads = counts.pop() if told and len(counts) == 1 else None
    return Choice(spec, layers, outputs, heads)


def _check_reduction(query: AttentionQuery, choice: Choice) -> None:
    name = choice.spec.name
    if query.reduction is Reduction.ROLLOUT:
        if choice.spec.query != choice.spec.key:
            raise ParameterInvalid(
                f"a rollout follows positions through self-attention; {name!r} relates different axes"
            )
        if query.layers or query.heads:
            raise ParameterInvalid("a rollout goes through all layers and heads: choose none of them")
    if query.reduction is Reduction.NONE and not query.heads and choice.heads is None:
        raise ParameterInvalid(f"layers of attention {name!r} may differ in heads: name heads, or ask for a reduction")


def _size(query: AttentionQuery, choices: Sequence[Choice], rows: Sequence[Mapping[str, int]]) -> int:
    """Bytes of all maps of all rows."""
    return sum(
        queries * (min(query.top_k, keys) * (_WEIGHT_BYTES + _INDEX_BYTES) if query.top_k else keys * _WEIGHT_BYTES)
        for queries, keys in _grids(query, choices, rows)
    )


def _grids(
    query: AttentionQuery, choices: Sequence[Choice], rows: Sequence[Mapping[str, int]]
) -> Iterator[tuple[int, int]]:
    """(queries times layers and heads that remain, keys) of each map."""
    for choice in choices:
        layers = len(choice.layers) if query.reduction in _BY_LAYER else 1
        heads = (len(query.heads) or choice.heads or 1) if query.reduction is Reduction.NONE else 1
        _, _, query_axis, key_axis = choice.outputs[0].axes
        for lengths in rows:
            queries = _extent(choice.spec.query, query_axis, lengths)
            yield layers * heads * queries, _extent(choice.spec.key, key_axis, lengths)


def _extent(meaning: TokenAxis | CellAxis, axis: Axis, lengths: Mapping[str, int]) -> int:
    if isinstance(meaning, CellAxis):
        return meaning.rows * meaning.columns
    if isinstance(axis, FixedAxis):
        return axis.size
    return lengths[axis.name if isinstance(axis, LengthAxis) else meaning.length]


def _advise(
    query: AttentionQuery, choices: Sequence[Choice], rows: Sequence[Mapping[str, int]], max_bytes: int
) -> tuple[str, dict[str, str]]:
    """A choice that fits, finest first, in words and as metadata."""
    for reduction in _COARSER.get(query.reduction, ()):
        if _size(replace(query, reduction=reduction), choices, rows) <= max_bytes:
            return f"reduction {reduction} fits", {"fitting_reduction": reduction}
    for reduction in (query.reduction, Reduction.MEAN):
        coarse = replace(query, reduction=reduction)
        top_k = max_bytes // (sum(queries for queries, _ in _grids(coarse, choices, rows)) * 2 * _WEIGHT_BYTES)
        if top_k:
            metadata = {"fitting_reduction": reduction, "fitting_top_k": str(top_k)}
            return f"reduction {reduction} with top_k {top_k} fits", metadata
    return "ask for fewer or shorter inputs", {}
