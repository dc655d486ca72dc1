import numpy as np
import pytest
import torch

from models.explain.content import graph_inputs
from models.explain.explanation import Missing
from models.explain.network import PublishedNetwork, compare, load_network
from models.explain.version import opened_version
from server.manifest import CHECKPOINT_FILE, Provenance
from tests.support.artifacts import write_signed


def with_provenance(bundle, **changes):
    provenance = bundle.manifest.provenance.model_copy(update=changes)
    return replaced(bundle, bundle.manifest.model_copy(update={"provenance": provenance}))


def replaced(bundle, manifest):
    return type(bundle)(**{**vars(bundle), "manifest": manifest})


def test_network_answers_as_the_graph_does_within_the_bundles_tolerance(opened):
    version, content = opened
    network = load_network(version.bundle)
    assert isinstance(network, PublishedNetwork)
    assert not network.module.training
    inputs = graph_inputs(version.manifest, content.row)
    parity = compare(network, inputs, version.run(inputs), version.graph.tolerance)
    assert parity.within
    assert parity.tolerance == version.graph.tolerance


def test_network_of_other_weights_is_told_apart(opened):
    version, content = opened
    network = load_network(version.bundle)
    with torch.no_grad():
        next(network.module.parameters()).mul_(3.0)
    inputs = graph_inputs(version.manifest, content.row)
    assert not compare(network, inputs, version.run(inputs), version.graph.tolerance).within


def test_another_shape_or_a_value_that_is_not_finite_is_an_infinite_difference(opened):
    version, content = opened
    network = load_network(version.bundle)
    inputs = graph_inputs(version.manifest, content.row)
    answered = version.run(inputs)
    for logits in (answered["logits"][:, :1], answered["logits"] * np.nan):
        assert compare(network, inputs, answered | {"logits": logits}, 1e-4).largest == float("inf")


def test_version_without_a_checkpoint_says_so(tmp_path):
    from server.store.bundle import open_bundle

    write_signed(tmp_path, name="areas")
    missing = load_network(open_bundle(tmp_path, "areas", 1, max_bytes=10**9))
    assert missing == Missing("the version has no checkpoint.safetensors")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"name": "nobody"}, "'nobody' is not a registered model"),
        ({"provenance": None}, "does not record the network's configuration"),
    ],
)
def test_version_that_nothing_here_describes_says_so(store, changes, reason):
    with opened_version(store, "areas") as version:
        missing = load_network(replaced(version.bundle, version.manifest.model_copy(update=changes)))
    assert isinstance(missing, Missing)
    assert reason in missing.reason


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"unknown": 1}, "not one of the registered areas"),
        ({"num_heads": 0}, "not one of the registered areas"),
        ({"num_classes": 7}, f"{CHECKPOINT_FILE} does not hold the weights"),
    ],
)
def test_configuration_or_weights_that_do_not_fit_say_so(store, config, reason):
    with opened_version(store, "areas") as version:
        provenance: Provenance = version.manifest.provenance
        missing = load_network(with_provenance(version.bundle, config={**provenance.config, **config}))
    assert isinstance(missing, Missing)
    assert reason in missing.reason
