import shutil

import onnx
import pytest

from models.export.bundle import read_candidate
from models.export.candidate import export_candidate
from models.export.failure import ParityFailed
from models.export.gate import check_earned
from models.export.quantise_candidate import quantise_candidate
from models.export.stepwise import encode_outputs, generation_of, step_inputs, step_outputs
from models.export.verify import verify_candidate
from models.tasks.task import Signature
from tests.support.generative import FAMILIES, written_candidate

FILES = {
    "translator": [("encode.onnx", "encode", False), ("step.onnx", "step", False), ("step-maps.onnx", "step", True)],
    "recurrent": [("encode.onnx", "encode", False), ("step.onnx", "step", True)],
    "language-model": [("step.onnx", "step", False), ("step-maps.onnx", "step", True)],
}


def shapes(values):
    return {
        value.name: [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim] for value in values
    }


@pytest.fixture(params=FAMILIES)
def family(request):
    return request.param


def graph(family, file):
    return onnx.load(written_candidate(family)[1] / file).graph


def test_each_family_has_its_graphs(family):
    trained, bundle = written_candidate(family)
    manifest = read_candidate(bundle)
    assert [(one.file, one.role, one.maps) for one in manifest.graphs] == FILES[family]
    assert manifest.generation == trained.signature.generation
    assert manifest.states == trained.signature.states


def test_step_takes_tokens_lengths_and_states_and_leaves_their_axes_open(family):
    signature = written_candidate(family)[0].signature
    found = shapes(graph(family, "step.onnx").input)
    assert list(found) == [spec.name for spec in step_inputs(signature)]
    for spec in step_inputs(signature):
        for axis, size in zip(spec.axes, found[spec.name], strict=True):
            assert isinstance(size, int) == (axis.kind == "fixed"), spec.name


def test_maps_come_with_the_graph_that_says_so(family):
    signature = written_candidate(family)[0].signature
    for file, role, maps in FILES[family]:
        if role == "step":
            names = [value.name for value in graph(family, file).output]
            assert names == [spec.name for spec in step_outputs(signature, maps=maps)]
            assert any("attention" in name or name == "alignment" for name in names) == maps


def test_encode_returns_what_the_states_begin_with():
    signature = written_candidate("recurrent")[0].signature
    names = [value.name for value in graph("recurrent", "encode.onnx").output]
    assert names == ["source_lengths", "source", "source_key", "first_hidden"]
    assert names == [spec.name for spec in encode_outputs(signature.states)]


def test_weights_over_what_was_written_count_their_own_keys():
    found = shapes(graph("translator", "step-maps.onnx").output)
    assert found["self_attention_0"] == ["rows", 2, "new", "keys"]
    assert found["cross_attention_0"] == ["rows", 2, "new", "length"]


@pytest.fixture(scope="module", params=["translator", "recurrent"])
def larger(request, tmp_path_factory):
    """A candidate that has a step over columns as networks over the size do, not verified; and its training."""
    trained = written_candidate(request.param)[0]
    bundle = tmp_path_factory.mktemp("larger") / "bundle"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("models.export.stepwise.COLUMNS_FROM", 0)
        export_candidate(trained, bundle)
    return trained, bundle


def test_larger_networks_have_a_step_over_columns_that_is_proven_and_has_no_int8_form(larger, tmp_path):
    trained, bundle = larger[0], shutil.copytree(larger[1], tmp_path / "bundle")
    quantise_candidate(trained, bundle, without_quality=True)
    verify_candidate(trained, bundle)
    manifest = read_candidate(bundle)
    check_earned(manifest)
    turned = [(graph.file, graph.precision) for graph in manifest.graphs if graph.layout == "columns"]
    assert turned == [("step-columns.onnx", "fp32")]


def test_step_over_columns_that_computes_something_else_fails(larger, tmp_path):
    trained, bundle = larger[0], shutil.copytree(larger[1], tmp_path / "bundle")
    model = onnx.load(bundle / "step-columns.onnx")
    weight = next(weight for weight in model.graph.initializer if weight.name.endswith(".turned"))
    weight.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weight) * 1.1, weight.name))
    onnx.save(model, bundle / "step-columns.onnx")
    with pytest.raises(ParityFailed):
        verify_candidate(trained, bundle)


def test_model_that_answers_at_once_has_no_generation():
    with pytest.raises(TypeError, match="does not write"):
        generation_of(Signature(inputs=(), outputs=()))
