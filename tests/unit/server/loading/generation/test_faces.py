"""Graphs that do not fit their manifest, by what they declare alone."""

from dataclasses import dataclass

import pytest

from server.errors import ArtifactCorrupt
from server.loading.generation.faces import check_encode, check_states, check_step
from server.manifest import GraphSpec
from server.runtime.session import GraphTensor
from server.tensors import Datatype
from tests.support.adder import VOCABULARY, Adder

ENCODE = GraphSpec(file="encode.onnx", role="encode", opset=20)
STEP = GraphSpec(file="step.onnx", role="step", opset=20)
MAPS = GraphSpec(file="maps.onnx", role="step", opset=20, maps=True)
INT64, FP32, BOOL, INT32 = Datatype.INT64, Datatype.FP32, Datatype.BOOL, Datatype.INT32


@dataclass
class Face:
    """What a session says of its graph."""

    inputs: tuple[GraphTensor, ...]
    outputs: tuple[GraphTensor, ...]

    def without(self, name):
        return self.having(name, None)

    def having(self, name, tensor):
        """With another tensor in the place of this one; None: with none."""

        def replaced(tensors):
            return tuple(tensor if one.name == name else one for one in tensors if tensor or one.name != name)

        return Face(replaced(self.inputs), replaced(self.outputs))


def tensor(name, datatype, *shape):
    return GraphTensor(name, datatype, shape)


STEP_FACE = Face(
    (
        tensor("tokens", INT64, "rows", "new"),
        tensor("own", INT64, "rows", "capacity"),
        tensor("lengths", INT32, "rows"),
        tensor("source", INT64, "rows", "length"),
    ),
    (tensor("logits", FP32, "rows", VOCABULARY), tensor("next_own", INT64, "rows", "capacity")),
)
MAPS_FACE = Face(
    STEP_FACE.inputs,
    (
        *STEP_FACE.outputs,
        tensor("look_own", FP32, "rows", 1, "new", "keys"),
        tensor("look_source", FP32, "rows", 1, "new", "length"),
    ),
)
ENCODE_FACE = Face(
    (tensor("ids", INT64, "rows", "length"), tensor("mask", BOOL, "rows", "length")),
    (tensor("source", INT64, "rows", "length"),),
)


@pytest.fixture
def manifest():
    return Adder("shared", max_new=4).manifest()


def refusal(check, *arguments):
    with pytest.raises(ArtifactCorrupt) as caught:
        check(*arguments)
    return caught.value.message


def test_graphs_that_fit_are_taken(manifest):
    check_encode(manifest, ENCODE, ENCODE_FACE)
    check_step(manifest, manifest.generation, STEP, STEP_FACE)
    check_step(manifest, manifest.generation, MAPS, MAPS_FACE)


def test_outputs_that_nobody_fetches_are_no_matter(manifest):
    check_step(manifest, manifest.generation, STEP, MAPS_FACE)


def test_shapes_that_the_graph_does_not_tell_are_taken(manifest):
    face = STEP_FACE.having("own", tensor("own", INT64)).having("logits", tensor("logits", FP32, None, None))
    check_step(manifest, manifest.generation, STEP, face)


@pytest.mark.parametrize("name", ["tokens", "own", "lengths", "source", "next_own", "logits"])
def test_a_missing_name_is_told_with_those_there_are(manifest, name):
    said = refusal(check_step, manifest, manifest.generation, STEP, STEP_FACE.without(name))
    assert repr(name) in said
    assert "step.onnx" in said
    assert "it has" in said


@pytest.mark.parametrize(
    ("name", "wrong", "says"),
    [
        ("tokens", tensor("tokens", INT32, "rows", "new"), "INT32"),
        ("own", tensor("own", FP32, "rows", "capacity"), "FP32"),
        ("own", tensor("own", INT64, "rows", "capacity", 4), "rank 3"),
        ("lengths", tensor("lengths", INT64, "rows"), "INT64"),
        ("lengths", tensor("lengths", INT32, "rows", 1), "rank 2"),
        ("next_own", tensor("next_own", INT64, "rows"), "rank 1"),
        ("logits", tensor("logits", Datatype.FP16, "rows", VOCABULARY), "FP16"),
        ("logits", tensor("logits", FP32, "rows", VOCABULARY + 1), f"scores {VOCABULARY + 1} tokens"),
        ("logits", tensor("logits", FP32, "rows", "new", VOCABULARY), "rank 3"),
        ("tokens", tensor("tokens", INT64, "rows", 1), "takes 1 new tokens"),
    ],
)
def test_what_differs_is_told(manifest, name, wrong, says):
    assert says in refusal(check_step, manifest, manifest.generation, STEP, STEP_FACE.having(name, wrong))


def test_an_input_that_nobody_would_feed_is_told(manifest):
    face = Face((*STEP_FACE.inputs, tensor("position_ids", INT64, "rows", "new")), STEP_FACE.outputs)
    assert "position_ids" in refusal(check_step, manifest, manifest.generation, STEP, face)


def test_a_length_that_no_state_takes_is_told():
    manifest = Adder("copied", encodes=False).manifest()
    face = Face(STEP_FACE.inputs[:3], STEP_FACE.outputs)
    assert "lengths" in refusal(check_step, manifest, manifest.generation, STEP, face)


def test_attention_that_a_graph_promises_must_be_there(manifest):
    said = refusal(check_step, manifest, manifest.generation, MAPS, MAPS_FACE.without("look_source"))
    assert "look_source" in said


def test_attention_of_another_number_of_heads_is_told(manifest):
    face = MAPS_FACE.having("look_own", tensor("look_own", FP32, "rows", 2, "new", "keys"))
    assert "size 2" in refusal(check_step, manifest, manifest.generation, MAPS, face)


@pytest.mark.parametrize(
    ("face", "says"),
    [
        (ENCODE_FACE.without("mask"), "'mask'"),
        (ENCODE_FACE.without("source"), "'source'"),
        (ENCODE_FACE.having("source", tensor("source", FP32, "rows", "length")), "FP32"),
        (ENCODE_FACE.having("source", tensor("source", INT64, "rows", "length", 8)), "rank 3"),
        (Face((*ENCODE_FACE.inputs, tensor("types", INT64, "rows", "length")), ENCODE_FACE.outputs), "types"),
    ],
)
def test_an_encode_graph_must_take_the_inputs_and_give_the_sources(manifest, face, says):
    said = refusal(check_encode, manifest, ENCODE, face)
    assert says in said
    assert "encode.onnx" in said


def test_appended_states_are_all_shared_or_none_is():
    shared, copied = Adder("shared").states[0], Adder("copied").states[0]
    check_states([shared, shared.model_copy(update={"name": "other"})])
    check_states([copied])
    assert "alike" in refusal(check_states, [shared, copied])
