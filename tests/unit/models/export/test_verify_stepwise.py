import shutil

import numpy as np
import onnx
import pytest
import torch

from models.export.bundle import read_candidate, write_manifest
from models.export.failure import CandidateUnusable, ParityFailed
from models.export.gate import check_earned
from models.export.golden import GOLDEN_TEXTS, GOLDEN_TOKENS, read_golden
from models.export.verify import verify_candidate
from models.export.verify_stepwise import threads_for, walker_of
from models.networks import Translator, TranslatorConfig
from models.networks.stepwise import TOKENS
from server.manifest import GOLDEN_FILE
from tests.support.generative import FAMILIES, written_candidate


@pytest.fixture(params=FAMILIES)
def family(request):
    return request.param


@pytest.fixture
def trained(family):
    return written_candidate(family)[0]


@pytest.fixture
def bundle(family, tmp_path):
    return shutil.copytree(written_candidate(family)[1], tmp_path / "bundle")


def edited_graph(bundle, file, edit):
    model = onnx.load(bundle / file)
    edit(model.graph)
    onnx.save(model, bundle / file)


def test_proof_is_on_every_output_state_and_source_and_is_enough_to_publish(trained, bundle):
    manifest = read_candidate(bundle)
    measured = {parity.output for parity in manifest.parity.outputs}
    assert {spec.name for spec in manifest.outputs} <= measured
    assert {state.output for state in manifest.states if state.output} <= measured
    assert {state.source for state in manifest.states if state.source} <= measured
    assert max(manifest.parity.batch_sizes) > 4
    assert manifest.batching.invariant
    check_earned(manifest)


def test_golden_texts_replay_token_by_token(trained, bundle):
    manifest = read_candidate(bundle)
    step = next(graph for graph in manifest.graphs if graph.role == "step")
    rows = list(read_golden(bundle / GOLDEN_FILE))
    assert len(rows) == GOLDEN_TEXTS
    with walker_of(trained, bundle, manifest, step) as walker:
        for inputs, outputs in rows:
            assert inputs.keys() == {TOKENS} | ({"input_ids", "mask"} if walker.encode is not None else set())
            assert inputs[TOKENS].shape[1] <= GOLDEN_TOKENS
            np.testing.assert_allclose(walker.walk([inputs])[0]["logits"], outputs["logits"], atol=1e-6)


@pytest.mark.parametrize("family", ["translator"])
def test_step_graph_that_computes_something_else_fails_with_its_outputs(trained, bundle):
    def shift(graph):
        for weight in graph.initializer:
            if list(weight.dims) == [32, 16]:  # the embeddings, which are the output layer too
                weight.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weight) * 1.1, weight.name))

    edited_graph(bundle, "step.onnx", shift)
    with pytest.raises(ParityFailed, match="in logits"):
        verify_candidate(trained, bundle)
    assert read_candidate(bundle).parity is None


@pytest.mark.parametrize("family", ["recurrent"])
def test_states_that_the_graph_does_not_have_are_refused_by_name(trained, bundle):
    def rename(graph):
        for node in graph.node:
            node.input[:] = ["other" if name == "hidden" else name for name in node.input]
        next(value for value in graph.input if value.name == "hidden").name = "other"

    edited_graph(bundle, "step.onnx", rename)
    with pytest.raises(CandidateUnusable, match=r"inputs of step\.onnx do not match .*: hidden FP32, other FP32"):
        verify_candidate(trained, bundle)


@pytest.mark.parametrize("family", ["language-model"])
def test_graph_in_int8_must_say_what_it_lost(trained, bundle):
    manifest = read_candidate(bundle)
    shutil.copy(bundle / "step.onnx", bundle / "step.int8.onnx")
    silent = manifest.graphs[0].model_copy(update={"file": "step.int8.onnx", "precision": "int8"})
    write_manifest(bundle, manifest.model_copy(update={"graphs": (*manifest.graphs, silent)}))
    with pytest.raises(CandidateUnusable, match="does not say what it lost"):
        verify_candidate(trained, bundle)


def test_small_networks_run_on_one_thread_for_as_long_as_they_are_measured():
    before = torch.get_num_threads()
    with threads_for(Translator(TranslatorConfig.tiny())):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before
