"""Gradient-weighted attention: where the network looked, and how much looking there spoke for the label.

A layer gives the mean over its heads of the positive part of weights × gradient, the gradient being that of the label's
logit with respect to the weights: Chefer et al. 2021, "Generic Attention-model Explainability", equation 5; the same
product is the heart of Grad-SAM, Barkan et al. 2021. Self-attention layers are followed through the residual stream by
R <- R + layer · R from R = 1 (Chefer et al. 2021, equation 6); what is shown is R less the 1.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from models.explain.explanation import Gradient, Missing, Weights
from models.explain.network import Explained, PublishedNetwork
from models.explain.trace import sources, watched
from server.manifest import AttentionSpec
from server.tensors import Array


def gradient_weighted(
    network: PublishedNetwork, inputs: Mapping[str, Array], explained: Explained
) -> dict[str, Gradient | Missing]:
    """Gradient-weighted attention of every mechanism, by its name, for one row."""
    specs = network.manifest.attention
    with torch.enable_grad(), watched(network.module) as seen:
        outputs = network.run(inputs)
        # Of the calls that share the weights, the innermost mixed the values with them: that is where gradients arrive.
        found = {name: sources(outputs[name], seen) for spec in specs for name in spec.outputs}
        roots = {name: calls[0].weights for name, calls in found.items() if calls and calls[0].weights.requires_grad}
        logit = outputs[explained.logits][0, explained.label]
        gradients = torch.autograd.grad(logit, list(roots.values()), allow_unused=True) if roots else ()
    weighted = {
        name: _layer(outputs[name], gradient)
        for name, gradient in zip(roots, gradients, strict=True)
        if gradient is not None
    }
    return {spec.name: _mechanism(spec, weighted) for spec in specs}


def _layer(weights: Tensor, gradient: Tensor) -> Weights:
    """(1,H,Q,K) of weights, as many numbers of gradient -> [Q, K]."""
    product = (weights.detach() * gradient.reshape(weights.shape))[0]
    layer: Weights = product.clamp(min=0.0).mean(dim=0).numpy().astype(np.float32)
    return layer


def _mechanism(spec: AttentionSpec, weighted: Mapping[str, Weights]) -> Gradient | Missing:
    lost = [number for number, name in enumerate(spec.outputs) if name not in weighted]
    if lost:
        return Missing(f"no gradient of the label reaches the weights of layer {lost[0]} of {spec.name!r}")
    layers = tuple(weighted[name] for name in spec.outputs)
    return Gradient(layers, _followed(layers) if spec.query == spec.key else None)


def _followed(layers: tuple[Weights, ...]) -> Weights:
    """[position, position] of each layer -> [position, position] through all of them."""
    identity: Weights = np.eye(layers[0].shape[-1], dtype=np.float32)
    relevance = identity
    for layer in layers:
        relevance = relevance + layer @ relevance
    return relevance - identity
