import pytest
import torch

from models.export.cases import BATCH_SIZES, LENGTHS
from models.export.example import EXAMPLE_FREE, EXAMPLE_LENGTH, EXAMPLE_ROWS, example_inputs
from server.manifest import FixedAxis, FreeAxis, InputSpec, LengthAxis, RowAxis
from server.tensors import Datatype

ROW, LENGTH = RowAxis(), LengthAxis(max=64)


def spec(name, datatype, *axes, role="data"):
    return InputSpec(name=name, datatype=datatype, axes=axes, role=role)


def test_inputs_have_their_datatypes_and_agreeing_sizes():
    inputs = (
        spec("ids", Datatype.INT64, ROW, LENGTH),
        spec("mask", Datatype.BOOL, ROW, LENGTH, role="mask"),
        spec("pixels", Datatype.FP32, ROW, FixedAxis(size=3)),
    )
    (ids, mask, pixels), _ = example_inputs(inputs)
    assert (ids.dtype, tuple(ids.shape)) == (torch.int64, (EXAMPLE_ROWS, EXAMPLE_LENGTH))
    assert (mask.dtype, tuple(mask.shape)) == (torch.bool, (EXAMPLE_ROWS, EXAMPLE_LENGTH))
    assert (pixels.dtype, tuple(pixels.shape)) == (torch.float32, (EXAMPLE_ROWS, 3))
    assert mask.all()


def test_axes_that_must_agree_share_a_dimension_and_fixed_axes_have_none():
    inputs = (spec("a", Datatype.INT64, ROW, LENGTH, FixedAxis(size=5)), spec("b", Datatype.INT64, LENGTH, ROW))
    _, (first, second) = example_inputs(inputs)
    assert first.keys() == {0, 1}
    assert first[0] is second[1]
    assert first[1] is second[0]


def test_length_axes_of_other_names_and_free_axes_have_dimensions_and_sizes_of_their_own():
    inputs = (
        spec("source", Datatype.INT64, ROW, LengthAxis(name="source")),
        spec("target", Datatype.INT64, ROW, LengthAxis(name="target")),
        spec("grid", Datatype.FP32, FreeAxis(), FreeAxis()),
    )
    tensors, dynamic = example_inputs(inputs)
    sizes = [size for tensor in tensors for size in tensor.shape]
    assert len(set(sizes)) == len(sizes) - 1  # the row axis is there twice
    assert len({id(dimension) for axes in dynamic for dimension in axes.values()}) == 5


def test_free_axes_of_one_name_share_a_dimension_and_keep_to_their_bound():
    inputs = (
        spec("a", Datatype.FP32, ROW, FreeAxis(name="width")),
        spec("b", Datatype.FP32, FreeAxis(name="width"), FreeAxis(name="narrow", max=5)),
    )
    (one, other), (first, second) = example_inputs(inputs)
    assert first[1] is second[0]
    assert (one.shape[1], other.shape[1]) == (EXAMPLE_FREE, 5)


def test_a_short_model_is_traced_within_its_bound():
    inputs = (spec("ids", Datatype.INT64, ROW, LengthAxis(max=3)),)
    for length in (None, 33):
        (ids,), _ = example_inputs(inputs, length)
        assert ids.shape[1] == 3


def test_a_length_of_its_own_is_that_of_the_first_length_axis():
    inputs = tuple(spec(name, Datatype.INT64, ROW, LengthAxis(name=name)) for name in ("source", "target"))
    tensors, _ = example_inputs(inputs, 33)
    assert [tensor.shape[1] for tensor in tensors] == [33, 34]


def test_a_datatype_that_no_network_takes_is_refused():
    with pytest.raises(ValueError, match="words is BYTES"):
        example_inputs((spec("words", Datatype.BYTES, ROW),))


def test_verification_keeps_clear_of_the_sizes_that_were_traced():
    assert EXAMPLE_ROWS not in BATCH_SIZES
    assert EXAMPLE_LENGTH not in LENGTHS
