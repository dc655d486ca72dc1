import copy

import numpy as np
import pytest
import torch

from models.attention import Attended, Mechanism
from models.explain.content import graph_inputs
from models.explain.explanation import Gradient, Missing
from models.explain.gradients import gradient_weighted
from models.explain.network import Explained, PublishedNetwork, load_network
from server.manifest import TokenAxis

STEP = 1e-5


@pytest.fixture
def network_and_inputs(opened):
    """The published network in double precision, for finite differences, and one row of inputs."""
    version, content = opened
    network = load_network(version.bundle)
    double = PublishedNetwork(copy.deepcopy(network.module).double(), network.task, network.manifest)
    inputs = graph_inputs(version.manifest, content.row)
    return double, {
        name: array.astype(np.float64) if array.dtype == np.float32 else array for name, array in inputs.items()
    }


def mechanisms(network):
    """The attending modules whose weights are returned, first layer first."""
    return [module for module in network.module.modules() if isinstance(module, Mechanism)]


def logit_with(network, inputs, label, layer, place, change):
    """The label's logit with one weight of one layer moved."""

    def move(_, args, output):
        weights = output.weights.clone()
        weights.view(-1)[place] += change
        return Attended(weights @ args[2], output.weights)

    hook = mechanisms(network)[layer].register_forward_hook(move)
    try:
        with torch.inference_mode():
            return float(network.run(inputs)["logits"][0, label])
    finally:
        hook.remove()


def test_layers_are_weights_times_finite_differences_positive_part_mean_over_heads(network_and_inputs):
    network, inputs = network_and_inputs
    (spec,) = network.manifest.attention
    found = gradient_weighted(network, inputs, Explained("logits", 1))[spec.name]
    assert isinstance(found, Gradient)
    rng = np.random.default_rng(0)
    with torch.inference_mode():
        outputs = network.run(inputs)
    for layer, name in enumerate(spec.outputs):
        weights = outputs[name][0].numpy()
        heads, queries, keys = weights.shape
        for query, key in rng.integers((queries, keys), size=(12, 2)):
            expected = 0.0
            for head in range(heads):
                place = int(np.ravel_multi_index((head, query, key), weights.shape))
                difference = logit_with(network, inputs, 1, layer, place, STEP) - logit_with(
                    network, inputs, 1, layer, place, -STEP
                )
                expected += max(0.0, weights[head, query, key] * difference / (2 * STEP)) / heads
            assert found.layers[layer][query, key] == pytest.approx(expected, rel=1e-4, abs=1e-9)


def test_layers_are_followed_through_the_residual_stream(network_and_inputs):
    network, inputs = network_and_inputs
    (spec,) = network.manifest.attention
    found = gradient_weighted(network, inputs, Explained("logits", 0))[spec.name]
    relevance = np.eye(found.layers[0].shape[-1])
    for layer in found.layers:
        relevance = relevance + layer @ relevance
    assert found.combined == pytest.approx(relevance - np.eye(len(relevance)), abs=1e-5)
    assert (found.combined >= 0.0).all()


def test_labels_differ_in_what_spoke_for_them(network_and_inputs):
    network, inputs = network_and_inputs
    (spec,) = network.manifest.attention
    first, second = (gradient_weighted(network, inputs, Explained("logits", label))[spec.name] for label in (0, 1))
    assert not np.allclose(first.layers[0], second.layers[0])


def test_cross_attention_is_not_followed(network_and_inputs):
    network, inputs = network_and_inputs
    (spec,) = network.manifest.attention
    cross = spec.model_copy(update={"query": TokenAxis(length="elsewhere")})
    manifest = network.manifest.model_copy(update={"attention": (cross,)})
    found = gradient_weighted(PublishedNetwork(network.module, network.task, manifest), inputs, Explained("logits", 0))[
        spec.name
    ]
    assert found.combined is None
    assert len(found.layers) == len(spec.outputs)


def test_weights_that_no_gradient_reaches_are_missing_with_their_layer(network_and_inputs):
    network, inputs = network_and_inputs
    (spec,) = network.manifest.attention
    mechanisms(network)[0].register_forward_hook(
        lambda _, args, output: Attended(output.context.detach(), output.weights.detach())
    )
    found = gradient_weighted(network, inputs, Explained("logits", 0))[spec.name]
    assert found == Missing(f"no gradient of the label reaches the weights of layer 0 of {spec.name!r}")
