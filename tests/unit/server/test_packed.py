import pytest

from server import packed
from server.manifest import FixedAxis, FreeAxis, InputSpec, LengthAxis, OutputSpec, RowAxis
from server.packed import PACKED_LAYOUTS, can_be_packed, packed_inputs, packed_outputs
from server.tensors import Datatype

ROW, LENGTH, WIDTH = RowAxis(), LengthAxis(), FixedAxis(size=4)
IDS = InputSpec(name="ids", datatype=Datatype.INT64, axes=(ROW, LENGTH))
KINDS = InputSpec(name="kinds", datatype=Datatype.INT32, axes=(ROW, LENGTH))
MASK = InputSpec(name="mask", datatype=Datatype.BOOL, axes=(ROW, LENGTH), role="mask")
LOGITS = OutputSpec(name="logits", datatype=Datatype.FP32, axes=(ROW, WIDTH))
SCALAR = OutputSpec(name="scalar", datatype=Datatype.FP32, axes=(ROW,))
STATES = OutputSpec(name="states", datatype=Datatype.FP32, axes=(ROW, LENGTH, WIDTH))
CONSTANT = OutputSpec(name="constant", datatype=Datatype.FP32, axes=(WIDTH,))


@pytest.mark.parametrize("layout", PACKED_LAYOUTS)
def test_data_inputs_come_first_with_their_datatypes_and_the_mask_is_left_out(layout):
    inputs = packed_inputs((MASK, IDS, KINDS), layout)
    assert [(spec.name, spec.datatype, spec.axes) for spec in inputs[:3]] == [
        ("ids", Datatype.INT64, ("tokens",)),
        ("kinds", Datatype.INT32, ("tokens",)),
        (packed.POSITIONS, Datatype.INT64, ("tokens",)),
    ]


def test_only_outputs_of_one_row_axis_and_fixed_ones_are_offered():
    assert packed_outputs((STATES, LOGITS, CONSTANT, SCALAR)) == (LOGITS, SCALAR)


@pytest.mark.parametrize("inputs", [(IDS,), (IDS, MASK), (MASK, IDS, KINDS)])
def test_rows_of_tokens_can_be_packed(inputs):
    assert can_be_packed(inputs, (LOGITS,))


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        ((MASK,), (LOGITS,)),
        ((), (LOGITS,)),
        ((IDS, MASK, MASK.model_copy(update={"name": "other"})), (LOGITS,)),
        ((IDS,), (STATES,)),
        ((IDS, KINDS.model_copy(update={"axes": (ROW, LengthAxis(name="other"))})), (LOGITS,)),
        ((IDS, KINDS.model_copy(update={"axes": (ROW, WIDTH)})), (LOGITS,)),
        ((KINDS.model_copy(update={"axes": (ROW, LENGTH, WIDTH)}),), (LOGITS,)),
        ((KINDS.model_copy(update={"axes": (ROW, FreeAxis())}),), (LOGITS,)),
    ],
    ids=["mask alone", "no input", "two masks", "no output by row", "two lengths", "fixed", "wide", "free"],
)
def test_other_signatures_cannot_be_packed(inputs, outputs):
    assert not can_be_packed(inputs, outputs)
