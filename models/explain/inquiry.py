"""From a question to its explanation: the graph answers, the network says what the graph cannot."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from models.explain.ablation import ablate
from models.explain.content import graph_inputs
from models.explain.explanation import Content, Explanation, Gradient, HeadEffect, Mechanism, Missing, Parity, Scores
from models.explain.gradients import gradient_weighted
from models.explain.network import Explained, compare, load_network
from models.explain.version import Version
from models.explain.weights import choose_label, positions, read_layers, read_rollout, read_scores
from server.errors import ParameterInvalid
from server.manifest import AttentionSpec, Manifest
from server.tensors import Array

Rows = Mapping[str, Array]


@dataclass(frozen=True)
class Inquiry:
    """What to explain of an answer, and how much of it to show.

    label: the label to explain, by name or index; None: the most probable.
    layers, heads: whose weights to show and which heads to switch off; empty: all. Rollout and gradients go through
        all of them either way.
    """

    label: str | None = None
    layers: tuple[int, ...] = ()
    heads: tuple[int, ...] = ()


@dataclass(frozen=True)
class _Side:
    """The PyTorch side's part, for every mechanism by name."""

    parity: Parity | Missing
    gradients: Mapping[str, Gradient | Missing]
    ablations: Mapping[str, tuple[HeadEffect, ...] | Missing]


def explain(version: Version, content: Content, inquiry: Inquiry | None = None) -> Explanation:
    """Answers an inquiry about one input of one version.

    Raises ParameterInvalid for a label, layer or head that does not exist, AttentionTooLarge for more weights than can
    be shown, InferenceFailed where the graph fails, SignatureMismatch if the codec does not feed the graph.
    """
    inquiry = inquiry or Inquiry()
    manifest = version.manifest
    inputs = graph_inputs(manifest, content.row)
    outputs = version.run(inputs)
    scores = read_scores(manifest, version.bundle.labels, outputs)
    label = _label(scores, inquiry.label)
    shown = {
        spec.name: read_layers(manifest, spec, outputs, inquiry.layers, inquiry.heads) for spec in manifest.attention
    }
    heads = {name: {layer.number: layer.heads for layer in layers} for name, layers in shown.items()}
    side = _torch_side(version, inputs, outputs, label, heads)
    tokens = content.row.tokens
    return Explanation(
        model=manifest.name,
        version=version.bundle.version,
        content=content,
        scores=scores,
        label=label,
        parity=side.parity,
        mechanisms=tuple(
            Mechanism(
                name=spec.name,
                kind=spec.mechanism,
                query=positions(spec.query, outputs[spec.outputs[0]].shape[2], tokens),
                key=positions(spec.key, outputs[spec.outputs[0]].shape[3], tokens),
                layers=shown[spec.name],
                rollout=read_rollout(manifest, spec, outputs),
                gradient=side.gradients[spec.name],
                ablation=side.ablations[spec.name],
            )
            for spec in manifest.attention
        ),
        notes=tuple(_notes(content)),
    )


def _label(scores: Scores | Missing, wanted: str | None) -> int | None:
    if not isinstance(scores, Missing):
        return choose_label(scores, wanted)
    if wanted is not None:
        raise ParameterInvalid(f"no label {wanted!r}: {scores.reason}")
    return None


def _torch_side(
    version: Version, inputs: Rows, outputs: Rows, label: int | None, heads: Mapping[str, Mapping[int, Sequence[int]]]
) -> _Side:
    specs, network = version.manifest.attention, load_network(version.bundle)
    if isinstance(network, Missing):
        return _without_network(network, network, specs)
    parity = compare(network, inputs, outputs, version.graph.tolerance)
    logits = _logits(version.manifest)
    if logits is None or label is None:
        return _without_network(parity, Missing("the model has no logits of labels"), specs)
    explained = Explained(logits, label)
    return _Side(
        parity,
        gradient_weighted(network, inputs, explained),
        {spec.name: ablate(network, inputs, spec, explained, heads[spec.name]) for spec in specs},
    )


def _without_network(parity: Parity | Missing, reason: Missing, specs: Sequence[AttentionSpec]) -> _Side:
    nothing = {spec.name: reason for spec in specs}
    return _Side(parity, nothing, nothing)


def _logits(manifest: Manifest) -> str | None:
    return next((spec.name for spec in manifest.outputs if spec.role == "logits" and len(spec.axes) == 2), None)


def _notes(content: Content) -> Sequence[str]:
    row = content.row
    if not row.truncated:
        return ()
    return (f"the text has {row.original_tokens} tokens and was cut to the {row.kept_tokens} that the model takes",)
