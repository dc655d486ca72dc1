"""What a manifest of a model that writes may not say."""

import pytest
from pydantic import ValidationError

from server.manifest import (
    FixedAxis,
    FreeAxis,
    GenerationSpec,
    GraphSpec,
    InputSpec,
    LengthAxis,
    Manifest,
    OutputSpec,
    RowAxis,
    StateSpec,
)
from server.tensors import Datatype

ROW, POSITION, SOURCE = RowAxis(), LengthAxis(name="position"), LengthAxis(name="length")
CACHE = {"name": "cache", "output": "next_cache", "datatype": "FP32", "axes": (ROW, POSITION), "kind": "append"}
CACHE |= {"growing_axis": 1, "length_input": "lengths", "aliasable": True}
HIDDEN = {"name": "hidden", "output": "next_hidden", "datatype": "FP32", "axes": (ROW,), "kind": "replace"}
READ = {"name": "read", "source": "read", "datatype": "FP32", "axes": (ROW, SOURCE), "kind": "constant"}
SPEC = {"vocab_size": 8, "start": (1,), "end": (2,), "max_length": 16, "max_tokens": 8}
STEP = GraphSpec(file="step.onnx", role="step", opset=20)
COLUMNS = GraphSpec(file="step-columns.onnx", role="step", layout="columns", opset=20)
ENCODE = GraphSpec(file="encode.onnx", role="encode", opset=20)
RUN = GraphSpec(file="model.onnx", opset=20)


def manifest(**changed) -> Manifest:
    given = {
        "name": "writer",
        "task": "translation",
        "graphs": (ENCODE, STEP),
        "inputs": (InputSpec(name="ids", datatype=Datatype.INT64, axes=(ROW, SOURCE)),),
        "outputs": (OutputSpec(name="logits", datatype=Datatype.FP32, axes=(ROW, FixedAxis(size=8)), role="logits"),),
        "states": (StateSpec(**CACHE), StateSpec(**READ)),
        "generation": GenerationSpec(**SPEC),
    }
    return Manifest(**{**given, **changed})


def test_what_is_read_and_what_grows_are_told():
    both, alone = manifest(), manifest(graphs=(STEP,), states=(StateSpec(**HIDDEN),))
    assert (both.encodes, both.growing) == (True, {"position"})
    assert (alone.encodes, alone.growing) == (False, frozenset())


@pytest.mark.parametrize(
    ("state", "changed", "told"),
    [
        (HIDDEN, {"axes": ()}, "the first axis must count rows"),
        (HIDDEN, {"axes": (SOURCE, ROW)}, "the first axis must count rows"),
        (HIDDEN, {"axes": (ROW, FreeAxis())}, "no axis may be free"),
        (HIDDEN, {"output": None}, "every other kind has one"),
        (READ, {"output": "next_read"}, "a constant has no output"),
        (READ, {"source": None}, "a constant needs a source"),
        (CACHE, {"growing_axis": None}, "`append` needs a growing_axis"),
        (HIDDEN, {"growing_axis": 1}, "other kinds have none"),
        (CACHE, {"growing_axis": 2}, "one of its length axes"),
        (CACHE, {"axes": (ROW, FixedAxis(size=4))}, "one of its length axes"),
        (HIDDEN, {"aliasable": True, "length_input": "lengths"}, "only `append`"),
        (CACHE, {"length_input": None}, "a shared buffer needs a length_input"),
    ],
)
def test_a_state_that_contradicts_itself_is_refused(state, changed, told):
    with pytest.raises(ValidationError, match=told):
        StateSpec(**{**state, **changed})


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"start": (8,)}, "start names a token outside the vocabulary"),
        ({"end": (-1,)}, "end names a token outside the vocabulary"),
        ({"suppress": (9,)}, "suppress names a token outside the vocabulary"),
        ({"end": ()}, "at least 1"),
        ({"start": (1,) * 16}, "no room"),
        ({"suppress": (2,)}, "must not be suppressed"),
    ],
)
def test_special_tokens_that_cannot_be_are_refused(changed, told):
    with pytest.raises(ValidationError, match=told):
        GenerationSpec(**{**SPEC, **changed})


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"generation": None}, "need `generation`"),
        ({"graphs": (RUN,)}, "takes a step graph"),
        ({"graphs": (ENCODE,)}, "takes a step graph"),
        ({"graphs": (STEP,)}, "need each other"),
        ({"graphs": (ENCODE.model_copy(update={"layout": "columns"}), STEP)}, "role encode cannot be in columns"),
        ({"graphs": (ENCODE, COLUMNS)}, "beside one in rows"),
        (
            {"graphs": (ENCODE, STEP, COLUMNS, COLUMNS.model_copy(update={"file": "more.onnx"}))},
            "one step graph may be",
        ),
        ({"graphs": (ENCODE, STEP, COLUMNS.model_copy(update={"precision": "int8"}))}, "in fp32"),
        ({"graphs": (ENCODE, STEP.model_copy(update={"layout": "gathered"}))}, "role step cannot be in gathered"),
        ({"states": (StateSpec(**HIDDEN),)}, "need each other"),
        ({"generation": GenerationSpec(**{**SPEC, "start": ()})}, "needs a start token"),
        ({"generation": GenerationSpec(**{**SPEC, "logits": "scores"})}, "which is no output"),
        ({"states": (StateSpec(**READ), StateSpec(**READ))}, "state named twice"),
    ],
)
def test_parts_that_do_not_fit_one_another_are_refused(changed, told):
    with pytest.raises(ValidationError, match=told):
        manifest(**changed)
