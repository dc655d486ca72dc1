from dataclasses import replace

import numpy as np
import pytest
import torch

from models.attention import Attended
from models.export.cases import sample_cases
from models.export.example import EXAMPLE_FREE, EXAMPLE_LENGTH
from models.export.parity import measure_parity
from models.export.report import failed_outputs
from models.export.trained import load_trained
from models.networks.bare_attention import MECHANISMS, BareAttentionConfig, bare_attention
from models.tasks.attention import MANY, SIGNATURES, BareMechanism
from server.manifest import FixedAxis, FreeAxis, GraphSpec, LengthAxis, Manifest, RowAxis
from server.runtime.session import Session
from tests.support.bundles import tiny_candidate

TASK = BareMechanism()


def samples(name):
    return TASK.samples(BareAttentionConfig(name), seed=0)


def test_every_mechanism_has_a_signature():
    assert SIGNATURES.keys() == MECHANISMS.keys()


@pytest.mark.parametrize("name", MECHANISMS)
def test_inputs_are_the_arguments_of_the_network_and_its_answer_has_the_outputs_axes(name):
    network, signature = bare_attention(BareAttentionConfig(name)), TASK.signature(BareAttentionConfig(name), None)
    for sample in samples(name):
        assert list(sample) == [spec.name for spec in signature.inputs]
        sizes = {
            axis.name: size
            for spec in signature.inputs
            for axis, size in zip(spec.axes, sample[spec.name].shape, strict=True)
            if isinstance(axis, LengthAxis | FreeAxis)
        }
        answer = TASK.flatten(network(**{key: torch.from_numpy(array) for key, array in sample.items()}))
        for spec, tensor in zip(signature.outputs, answer, strict=True):
            assert list(tensor.shape) == [
                1 if isinstance(axis, RowAxis) else axis.size if isinstance(axis, FixedAxis) else sizes[axis.name]
                for axis in spec.axes
            ]


@pytest.mark.parametrize("name", MECHANISMS)
def test_signature_is_a_manifests(name):
    signature = SIGNATURES[name]
    manifest = Manifest(
        name="attend",
        task="attention",
        graphs=(GraphSpec(file="model.onnx", opset=20),),
        inputs=signature.inputs,
        outputs=signature.outputs,
        attention=signature.attention,
    )
    assert manifest.batched
    mask = manifest.input("mask")
    assert (mask.optional, mask.role, mask.pad) == (True, "mask", False)


@pytest.mark.parametrize("name", MECHANISMS)
def test_samples_have_widths_and_lengths_that_differ_from_each_other_and_from_the_traced_ones(name):
    shapes = [sample["query"].shape for sample in samples(name)]
    assert len(sample_cases(samples(name), SIGNATURES[name].inputs)) == 2
    assert any(sample["query"].shape[1] != sample["key"].shape[1] for sample in samples(name))
    assert all(shape[1] != EXAMPLE_LENGTH and shape[2] < EXAMPLE_FREE for shape in shapes)


def test_samples_hold_a_query_that_may_attend_to_nothing_but_none_in_the_first():
    masks = [sample["mask"] for sample in samples("dot")]
    assert masks[0].any(axis=-1).all()
    assert any(not mask[:, MANY:].any() for mask in masks if mask.shape[1] > MANY)


def test_same_seed_gives_the_same_samples():
    for one, other in zip(samples("additive"), samples("additive"), strict=True):
        for name, array in one.items():
            np.testing.assert_array_equal(array, other[name])


def test_what_is_no_attention_is_not_flattened():
    assert [tensor.dim() for tensor in TASK.flatten(Attended(torch.zeros(1, 2, 3), torch.zeros(1, 2, 4)))] == [3, 4]
    with pytest.raises(TypeError, match="not Tensor"):
        TASK.flatten(torch.zeros(1))


def test_the_comparison_tells_one_mechanism_from_another():
    """The graph of the scaled dot product against the network of the plain one."""
    bundle = tiny_candidate("attend")
    trained = load_trained(bundle.parent / "checkpoint")
    other = replace(trained, network=bare_attention(BareAttentionConfig("dot")))
    session = Session.open(bundle / "model.onnx")
    try:
        cases = sample_cases(trained.task.samples(trained.config, seed=0), trained.signature.inputs)
        assert not failed_outputs(measure_parity(trained, session, cases, 1e-4))
        assert set(failed_outputs(measure_parity(other, session, cases, 1e-4))) == {"context", "weights"}
    finally:
        session.close()
