import copy

import pytest
import torch
from torch import nn

from models.attention import GroupedQueryAttention, MultiHeadAttention, SpatialSelfAttention
from models.explain.ablation import ablate, head_off
from models.explain.content import graph_inputs
from models.explain.explanation import Missing
from models.explain.network import Explained, PublishedNetwork, load_network
from models.explain.trace import Attending
from models.explain.weights import read_layers

LABEL = Explained("logits", 1)


@pytest.fixture
def case(opened):
    version, content = opened
    inputs = graph_inputs(version.manifest, content.row)
    (spec,) = version.manifest.attention
    heads = {layer.number: layer.heads for layer in read_layers(version.manifest, spec, version.run(inputs))}
    return load_network(version.bundle), inputs, spec, heads


def probabilities(network, inputs):
    with torch.inference_mode():
        return torch.softmax(network.run(inputs)["logits"][0].double(), dim=-1)


def silenced_by_hand(network, layer, head):
    """A copy whose head writes nothing: its columns of the last projection, or the gate, are zero."""
    module = copy.deepcopy(network.module)
    attending = [part for part in module.modules() if isinstance(part, MultiHeadAttention | SpatialSelfAttention)]
    with torch.no_grad():
        if isinstance(attending[layer], SpatialSelfAttention):
            attending[layer].gamma.zero_()
        else:
            width = attending[layer].project_context.in_features // attending[layer].num_heads
            attending[layer].project_context.weight[:, head * width : (head + 1) * width] = 0.0
    return PublishedNetwork(module, network.task, network.manifest)


def test_head_switched_off_is_a_head_whose_projection_is_zero(case):
    network, inputs, spec, heads = case
    effects = ablate(network, inputs, spec, LABEL, heads)
    assert [(effect.layer, effect.head) for effect in effects] == [(n, h) for n, hs in heads.items() for h in hs]
    whole = float(probabilities(network, inputs)[LABEL.label])
    for effect in effects:
        expected = probabilities(silenced_by_hand(network, effect.layer, effect.head), inputs)
        assert effect.probability == pytest.approx(float(expected[LABEL.label]), abs=1e-6)
        assert effect.change == pytest.approx(effect.probability - whole, abs=1e-6)
        assert effect.best == int(expected.argmax())
        assert abs(effect.change) > 1e-6


def test_network_is_whole_again_afterwards(case):
    network, inputs, spec, heads = case
    before = probabilities(network, inputs)
    ablate(network, inputs, spec, LABEL, heads)
    assert torch.equal(probabilities(network, inputs), before)


def test_only_the_heads_asked_for_are_switched_off(case):
    network, inputs, spec, heads = case
    last = max(heads)
    (effect,) = ablate(network, inputs, spec, LABEL, {last: (0,)})
    assert (effect.layer, effect.head) == (last, 0)


def test_layer_whose_weights_come_from_elsewhere_is_missing(case):
    network, inputs, spec, heads = case
    module = copy.deepcopy(network.module)
    module.register_forward_hook(
        lambda _, args, output: output._replace(attention=tuple(weights.clone() for weights in output.attention))
    )
    found = ablate(PublishedNetwork(module, network.task, network.manifest), inputs, spec, LABEL, heads)
    assert found == Missing(f"layer 0 of {spec.name!r} has no heads that can be switched off")


@pytest.mark.parametrize("call", [0, 1])
def test_of_layers_that_share_a_module_only_one_loses_the_head(call):
    torch.manual_seed(0)
    shared, hidden = MultiHeadAttention(4, 2), torch.randn(1, 3, 4)
    cut = copy.deepcopy(shared)
    with torch.no_grad():
        cut.project_context.weight[:, 2:] = 0.0
    layers = [cut if layer == call else shared for layer in range(2)]
    expected = layers[1](layers[0](hidden).context).context
    with head_off(Attending(shared, call, torch.empty(0)), 1):
        assert torch.allclose(shared(shared(hidden).context).context, expected, atol=1e-6)


def test_grouped_heads_are_switched_off_one_query_head_at_a_time():
    torch.manual_seed(0)
    module, hidden = GroupedQueryAttention(8, 4, 2), torch.randn(1, 3, 8)
    cut = copy.deepcopy(module)
    with torch.no_grad():
        cut.project_context.weight[:, 4:6] = 0.0
    with head_off(Attending(module, 0, torch.empty(0)), 2):
        assert torch.allclose(module(hidden).context, cut(hidden).context, atol=1e-6)


@pytest.mark.parametrize(
    ("module", "head", "message"),
    [
        (MultiHeadAttention(4, 2), 2, "no head 2: the module has 2"),
        (SpatialSelfAttention(4), 1, "no head 1: the module has 1"),
        (nn.Linear(2, 2), 0, "heads of Linear cannot be switched off"),
    ],
)
def test_head_that_is_not_there_is_refused(module, head, message):
    with pytest.raises(ValueError, match=message), head_off(Attending(module, 0, torch.empty(0)), head):
        pass
