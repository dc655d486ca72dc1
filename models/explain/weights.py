"""What the graph itself says: the labels' probabilities, every head's weights, and their rollout."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from models.explain.explanation import Layer, Missing, Positions, Scores, Weights
from server.codecs import Token
from server.errors import AttentionTooLarge, InferenceFailed, ParameterInvalid
from server.manifest import AttentionSpec, CellAxis, Manifest, OutputSpec, TokenAxis
from server.runtime.attention_maps import AttentionQuery, Reduction, attention_maps
from server.tensors import Array

MAX_WEIGHTS = 2**23
"""The most weights that are shown at once: a page of some 22 MB."""

_LISTED_LABELS = 20


def read_scores(manifest: Manifest, labels: Sequence[str], outputs: Mapping[str, Array]) -> Scores | Missing:
    """The probability of each label; a label without a name is called by its index.

    Raises InferenceFailed for scores that are not finite.
    """
    spec = score_output(manifest)
    if spec is None:
        return Missing("the model does not score labels for a whole input")
    values = outputs[spec.name][0].astype(np.float64)
    if not np.isfinite(values).all():
        raise InferenceFailed("the model answered with scores that are not finite")
    probabilities = values if spec.role == "probabilities" else softmax(values)
    names = tuple(labels[index] if index < len(labels) else str(index) for index in range(len(values)))
    return Scores(names, probabilities)


def score_output(manifest: Manifest) -> OutputSpec | None:
    """The output [row, label]: probabilities if the model has them, else logits; None where it has neither."""
    by_role = {spec.role: spec for spec in reversed(manifest.outputs) if len(spec.axes) == 2}
    return by_role.get("probabilities") or by_role.get("logits")


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N,) of logits -> (N,) of probabilities."""
    shifted = np.exp(logits - logits.max())  # the largest exponent is 0: nothing overflows
    normal: NDArray[np.float64] = shifted / shifted.sum()
    return normal


def choose_label(scores: Scores, wanted: str | None) -> int:
    """The label of this name, or else of this index; None: the most probable.

    Raises ParameterInvalid, which lists the names, if there is none.
    """
    if wanted is None:
        return scores.best()[0]
    if wanted in scores.labels:
        return scores.labels.index(wanted)
    if wanted.isascii() and wanted.isdecimal() and int(wanted) < len(scores.labels):
        return int(wanted)
    names = ", ".join(scores.labels[:_LISTED_LABELS]) + (", …" if len(scores.labels) > _LISTED_LABELS else "")
    raise ParameterInvalid(f"no label {wanted!r}; the model has {names}")


def read_layers(
    manifest: Manifest,
    spec: AttentionSpec,
    outputs: Mapping[str, Array],
    layers: Sequence[int] = (),
    heads: Sequence[int] = (),
) -> tuple[Layer, ...]:
    """The weights of one mechanism, layer by layer; empty `layers` or `heads`: all.

    Raises ParameterInvalid for layers or heads that do not exist or are named twice, AttentionTooLarge for more than
    `MAX_WEIGHTS`, InferenceFailed for weights that are not finite.
    """
    if len(set(layers)) < len(layers):
        raise ParameterInvalid("an attention layer is named twice")
    shown = tuple(layers) or tuple(range(len(spec.outputs)))
    read = tuple(_layer(manifest, spec, outputs, number, tuple(heads)) for number in shown)
    total = sum(layer.weights.size for layer in read)
    if total > MAX_WEIGHTS:
        raise AttentionTooLarge(
            f"{total} weights are more than the {MAX_WEIGHTS} that can be shown: choose layers and heads"
        )
    return read


def read_rollout(manifest: Manifest, spec: AttentionSpec, outputs: Mapping[str, Array]) -> Weights | Missing:
    """Attention rollout (Abnar and Zuidema 2020) as the server computes it, [position, position]."""
    try:
        (rolled,) = attention_maps(
            AttentionQuery(names=(spec.name,), reduction=Reduction.ROLLOUT), manifest, outputs, 0
        )
    except ParameterInvalid as error:  # queries and keys are not the same positions
        return Missing(error.message)
    return rolled.weights


def positions(meaning: TokenAxis | CellAxis, count: int, tokens: Sequence[Token]) -> Positions:
    """What stands along an axis of `count` places; numbers where the tokens are those of another axis."""
    if isinstance(meaning, CellAxis):
        return meaning
    if len(tokens) == count:
        return tuple(tokens)
    return tuple(Token(str(place), 0, 0) for place in range(count))


def _layer(
    manifest: Manifest, spec: AttentionSpec, outputs: Mapping[str, Array], number: int, heads: tuple[int, ...]
) -> Layer:
    if not 0 <= number < len(spec.outputs):
        raise ParameterInvalid(
            f"no layer {number} in attention {spec.name!r}; its layers are 0 to {len(spec.outputs) - 1}"
        )
    shown = heads or tuple(range(outputs[spec.outputs[number]].shape[1]))
    query = AttentionQuery(names=(spec.name,), layers=(number,), heads=shown)
    (read,) = attention_maps(query, manifest, outputs, 0)
    weights = read.weights[0]  # [1 layer, heads, query, key]
    if not np.isfinite(weights).all():
        raise InferenceFailed("the model answered with attention weights that are not finite")
    return Layer(number, shown, weights)
