"""Every registered model at its tiny configuration: PyTorch against the exported graph, at shapes never exported."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from models.export.candidate import export_candidate
from models.export.cases import BATCH_SIZES, generated_cases, sample_cases, sample_rows, unseen_lengths
from models.export.failure import ParityFailed
from models.export.graph import GRAPH_FILE
from models.export.parity import measure_parity, run_network
from models.export.report import failed_outputs, is_invariant
from models.export.rows import pad_rows
from models.export.trained import load_trained
from models.export.verify import verify_candidate
from models.registry import MODELS, RegisteredMechanism, RegisteredModel
from models.tasks.writing import Writing
from server.manifest import FreeAxis, LengthAxis
from server.runtime.session import Session
from tests.support.checkpoints import CODECS, make_checkpoint

LEARNED = sorted(name for name, model in MODELS.items() if isinstance(model, RegisteredModel))
WEIGHTLESS = sorted(name for name, model in MODELS.items() if isinstance(model, RegisteredMechanism))
WRITING = sorted(name for name in LEARNED if isinstance(MODELS[name].task, Writing))
"""Those whose graphs are run again and again; the others answer at once."""
ANSWERING = sorted(MODELS.keys() - set(WRITING))
TOLERANCE = 1e-4
MAX_TINY_PARAMETERS = 20_000


@pytest.fixture(scope="module", params=ANSWERING)
def exported(request, tmp_path_factory):
    """A model with random weights, its session, and rows of its samples."""
    run = tmp_path_factory.mktemp(request.param)
    trained = load_trained(make_checkpoint(run, request.param, seed=3))
    export_candidate(trained, run / "bundle")
    session = Session.open(run / "bundle" / GRAPH_FILE)
    yield trained, session, sample_rows(trained, run / "bundle")
    session.close()


def test_every_registered_model_is_learned_or_without_weights():
    assert sorted(MODELS) == sorted([*LEARNED, *WEIGHTLESS])


@pytest.mark.parametrize("name", WEIGHTLESS)
def test_a_model_without_weights_has_none(name):
    registered = MODELS[name]
    assert not registered.task.build(registered.config).state_dict()


@pytest.mark.parametrize("name", LEARNED)
def test_every_learned_model_has_a_tiny_configuration_and_can_be_built_here(name):
    registered = MODELS[name]
    assert type(registered.tiny) is type(registered.config)
    assert registered.tiny != registered.config
    assert registered.task.name in CODECS, "tests/support/checkpoints.py cannot make a checkpoint for this task"
    parameters = sum(tensor.numel() for tensor in registered.task.build(registered.tiny).parameters())
    assert 0 < parameters < MAX_TINY_PARAMETERS


@pytest.mark.parametrize("name", WRITING)
def test_graphs_write_like_the_network_and_not_like_another(name, tmp_path):
    trained = load_trained(make_checkpoint(tmp_path, name, seed=3))
    export_candidate(trained, tmp_path / "bundle")
    report = verify_candidate(trained, tmp_path / "bundle")
    assert failed_outputs(report) == ()
    assert is_invariant(report)
    assert {spec.name for spec in trained.signature.outputs} <= {parity.output for parity in report.outputs}
    torch.manual_seed(99)
    other = replace(trained, network=trained.task.build(trained.config).eval())
    with pytest.raises(ParityFailed):
        verify_candidate(other, tmp_path / "bundle")


def test_graph_answers_and_attends_like_the_network_alone_and_in_company(exported):
    trained, session, samples = exported
    inputs = trained.signature.inputs
    cases = [*sample_cases(samples, inputs), *generated_cases(samples, inputs, seed=7)]
    report = measure_parity(trained, session, cases, TOLERANCE)
    assert failed_outputs(report) == ()
    assert is_invariant(report)
    assert {parity.output for parity in report.outputs} == {spec.name for spec in trained.signature.outputs}
    assert set(BATCH_SIZES) <= set(report.batch_sizes)
    assert {length for length in unseen_lengths(trained.signature.inputs) if length} <= set(report.lengths)


def test_outputs_have_the_shapes_and_datatypes_of_the_signature(exported):
    trained, session, samples = exported
    for rows in sample_cases(samples, trained.signature.inputs):
        batch = pad_rows(rows, trained.signature.inputs)
        sizes = {
            axis.name: size
            for spec in trained.signature.inputs
            for axis, size in zip(spec.axes, batch[spec.name].shape, strict=True)
            if isinstance(axis, LengthAxis | FreeAxis)
        }
        answered = session.run(batch)
        assert_sizes(trained, answered, len(rows), sizes)


def assert_sizes(trained, answered, rows, sizes):
    for spec in trained.signature.outputs:
        expected = [
            rows if axis.kind == "row" else axis.size if axis.kind == "fixed" else sizes[axis.name]
            for axis in spec.axes
        ]
        assert list(answered[spec.name].shape) == expected
        assert answered[spec.name].dtype == np.float32


def test_attention_weights_of_every_query_sum_to_one(exported):
    trained, session, samples = exported
    answered = session.run(samples[0])
    attention = [output for spec in trained.signature.attention for output in spec.outputs]
    assert attention
    for name in attention:
        np.testing.assert_allclose(answered[name].sum(axis=-1), 1.0, atol=1e-5)


def test_rows_are_answered_differently(exported):
    """A graph that ignored its input would pass every comparison above only if the network did, too."""
    trained, session, samples = exported
    for rows in sample_cases(samples, trained.signature.inputs):
        answers = session.run(pad_rows(rows, trained.signature.inputs))[trained.signature.outputs[0].name]
        assert len(np.unique(answers.round(6), axis=0)) == len(rows)


@pytest.mark.parametrize("exported", sorted(set(LEARNED) - set(WRITING)), indirect=True)
def test_another_network_fails_the_comparison(exported):
    """The comparison can fail: the same graph against a network of other weights."""
    trained, session, samples = exported
    torch.manual_seed(99)
    other = replace(trained, network=trained.task.build(trained.config).eval())
    assert failed_outputs(measure_parity(other, session, [samples], TOLERANCE))
    assert not np.allclose(run_network(other, samples[0])["logits"], run_network(trained, samples[0])["logits"])
