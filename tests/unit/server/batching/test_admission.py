import numpy as np
import pytest

from server.batching.admission import MAX_FILL_BYTES, Admission
from server.errors import (
    EmptyInput,
    ParameterInvalid,
    PayloadTooLarge,
    RowLimitExceeded,
    SequenceTooLong,
    SignatureMismatch,
)
from server.manifest import FixedAxis, FreeAxis, GraphSpec, InputSpec, LengthAxis, Manifest, OutputSpec, RowAxis
from server.tensors import Datatype, Tensor, bf16_to_float32

IDS = InputSpec(name="ids", datatype=Datatype.INT64, axes=(RowAxis(), LengthAxis(max=8)))
MASK = InputSpec(name="mask", datatype=Datatype.INT64, axes=(RowAxis(), LengthAxis(max=8)), role="mask", optional=True)
TYPES = InputSpec(name="types", datatype=Datatype.INT64, axes=(RowAxis(), LengthAxis(max=8)), pad=7, optional=True)
OUT = OutputSpec(name="out", datatype=Datatype.FP32, axes=(RowAxis(), FixedAxis(size=2)))
MAP = OutputSpec(name="map", datatype=Datatype.FP32, axes=(RowAxis(), LengthAxis(), LengthAxis()))


def admit(manifest, inputs, outputs, max_rows, max_fill_bytes=MAX_FILL_BYTES):
    return Admission(manifest, max_rows, max_fill_bytes).admit(inputs, outputs)


def manifest(*inputs: InputSpec) -> Manifest:
    return Manifest(
        name="m", task="tensors", graphs=(GraphSpec(file="model.onnx", opset=20),), inputs=inputs, outputs=(OUT, MAP)
    )


TEXT = manifest(IDS, MASK, TYPES)


def ids(*shape: int) -> dict[str, Tensor]:
    return {"ids": Tensor.of(np.ones(shape, dtype=np.int64))}


def test_absent_mask_is_ones_and_other_optional_inputs_are_their_padding():
    admitted = admit(TEXT, ids(2, 3), ["out"], max_rows=4)
    assert admitted.inputs["mask"].tolist() == [[1, 1, 1], [1, 1, 1]]
    assert admitted.inputs["types"].tolist() == [[7, 7, 7], [7, 7, 7]]
    assert (admitted.rows, admitted.lengths) == (2, {"length": 3})


def test_bool_mask_is_cast_to_the_graphs_integers():
    mask = Tensor.of(np.array([[True, False]]))
    admitted = admit(TEXT, {**ids(1, 2), "mask": mask}, ["out"], max_rows=4)
    assert admitted.inputs["mask"].dtype == np.int64
    assert admitted.inputs["mask"].tolist() == [[1, 0]]


def test_an_absent_mask_of_bf16_is_ones_and_one_of_bools_is_cast():
    mask = InputSpec(name="mask", datatype=Datatype.BF16, axes=MASK.axes, role="mask", optional=True)
    absent = admit(manifest(IDS, mask), ids(1, 2), ["out"], max_rows=1)
    given = admit(manifest(IDS, mask), {**ids(1, 2), "mask": Tensor.of(np.array([[True, False]]))}, ["out"], max_rows=1)
    assert bf16_to_float32(absent.inputs["mask"]).tolist() == [[1.0, 1.0]]
    assert bf16_to_float32(given.inputs["mask"]).tolist() == [[1.0, 0.0]]


def test_absent_texts_are_empty():
    hint = InputSpec(name="hint", datatype=Datatype.BYTES, axes=(RowAxis(),), optional=True)
    assert admit(manifest(IDS, hint), ids(2, 1), ["out"], max_rows=2).inputs["hint"].tolist() == [b"", b""]


def test_an_absent_input_that_would_be_too_large_is_refused_before_it_is_made():
    square = InputSpec(
        name="pairs", datatype=Datatype.INT64, axes=(RowAxis(), LengthAxis(), LengthAxis()), optional=True
    )
    long = manifest(InputSpec(name="ids", datatype=Datatype.INT64, axes=(RowAxis(), LengthAxis())), square)
    with pytest.raises(PayloadTooLarge, match="pairs"):
        admit(long, ids(1, 10**6), ["out"], max_rows=1, max_fill_bytes=8 * 10**6)
    assert admit(long, ids(1, 10), ["out"], max_rows=1, max_fill_bytes=800).inputs["pairs"].shape == (1, 10, 10)


@pytest.mark.parametrize(
    ("inputs", "error", "says"),
    [
        ({}, SignatureMismatch, "missing input ids"),
        ({**ids(1, 2), "other": Tensor.of(np.zeros(1))}, SignatureMismatch, "unknown input 'other'"),
        ({"ids": Tensor.of(np.ones((1, 2), dtype=np.int32))}, SignatureMismatch, "expected INT64, got INT32"),
        (ids(3), SignatureMismatch, "expected rank 2"),
        (ids(0, 3), EmptyInput, "size 0"),
        (ids(1, 0), EmptyInput, "size 0"),
        (ids(5, 2), RowLimitExceeded, "5 rows"),
        (ids(1, 9), SequenceTooLong, "length 9 is over the model's 8"),
        ({**ids(1, 2), "mask": Tensor.of(np.ones((2, 2), dtype=np.int64))}, SignatureMismatch, "2 rows"),
        ({**ids(1, 2), "mask": Tensor.of(np.ones((1, 3), dtype=np.int64))}, SignatureMismatch, "length 3"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(inputs, error, says):
    with pytest.raises(error) as caught:
        admit(TEXT, inputs, ["out"], max_rows=4)
    assert says in caught.value.message


def test_fixed_axis_takes_one_size_only():
    model = manifest(InputSpec(name="x", datatype=Datatype.FP32, axes=(RowAxis(), FixedAxis(size=3))))
    with pytest.raises(SignatureMismatch, match="expected size 3, got 2"):
        admit(model, {"x": Tensor.of(np.ones((1, 2), dtype=np.float32))}, ["out"], max_rows=1)


@pytest.mark.parametrize(("outputs", "error"), [(["out", "out"], ParameterInvalid), (["nothing"], SignatureMismatch)])
def test_outputs_are_known_and_asked_for_once(outputs, error):
    with pytest.raises(error):
        admit(TEXT, ids(1, 2), outputs, max_rows=4)


def test_requests_that_differ_in_free_axes_or_outputs_are_of_different_groups():
    model = manifest(InputSpec(name="x", datatype=Datatype.FP32, axes=(RowAxis(), FreeAxis())))

    def group(size: int, *outputs: str) -> tuple[object, ...]:
        return admit(model, {"x": Tensor.of(np.ones((1, size), dtype=np.float32))}, outputs, max_rows=1).group

    assert group(2, "out") == group(2, "out")
    assert group(2, "out", "map") == group(2, "map", "out")
    assert group(2, "out") != group(3, "out")
    assert group(2, "out") != group(2, "map")


def two(*first: int, second: tuple[int, ...]) -> dict[str, Tensor]:
    return {"x": Tensor.of(np.ones(first, dtype=np.float32)), "y": Tensor.of(np.ones(second, dtype=np.float32))}


def test_free_axes_of_one_name_have_one_size():
    axes = (RowAxis(), FreeAxis(name="width"))
    model = manifest(*(InputSpec(name=name, datatype=Datatype.FP32, axes=axes) for name in ("x", "y")))
    assert admit(model, two(1, 3, second=(1, 3)), ["out"], max_rows=1).inputs["y"].shape == (1, 3)
    with pytest.raises(SignatureMismatch, match="input 'y', axis 1: size 2, other inputs have 3 for 'width'"):
        admit(model, two(1, 3, second=(1, 2)), ["out"], max_rows=1)


def test_free_axes_without_a_name_are_equal_to_no_other():
    axes = (RowAxis(), FreeAxis())
    model = manifest(*(InputSpec(name=name, datatype=Datatype.FP32, axes=axes) for name in ("x", "y")))
    assert admit(model, two(1, 3, second=(1, 2)), ["out"], max_rows=1).group[:2] == (3, 2)


def test_a_free_axis_over_its_bound_is_too_large():
    model = manifest(InputSpec(name="x", datatype=Datatype.FP32, axes=(RowAxis(), FreeAxis(max=4))))
    admit(model, {"x": Tensor.of(np.ones((1, 4), dtype=np.float32))}, ["out"], max_rows=1)
    with pytest.raises(PayloadTooLarge, match="size 5 is over the model's 4") as caught:
        admit(model, {"x": Tensor.of(np.ones((1, 5), dtype=np.float32))}, ["out"], max_rows=1)
    assert caught.value.metadata == {"size": "5", "max_size": "4"}


def test_an_absent_mask_over_two_lengths_is_true_up_to_the_requests_own():
    query = InputSpec(name="query", datatype=Datatype.FP32, axes=(RowAxis(), LengthAxis(name="queries")))
    key = InputSpec(name="key", datatype=Datatype.FP32, axes=(RowAxis(), LengthAxis(name="keys")))
    pairs = (RowAxis(), LengthAxis(name="queries"), LengthAxis(name="keys"))
    mask = InputSpec(name="mask", datatype=Datatype.BOOL, axes=pairs, pad=False, role="mask", optional=True)
    given = {name: Tensor.of(np.ones((1, size), dtype=np.float32)) for name, size in (("query", 2), ("key", 3))}
    admitted = admit(manifest(query, key, mask), given, ["out"], max_rows=1)
    assert admitted.inputs["mask"].tolist() == [[[True] * 3] * 2]


def test_a_callers_long_name_is_cut_in_the_message():
    with pytest.raises(SignatureMismatch) as caught:
        admit(TEXT, {**ids(1, 2), "x" * 10_000: Tensor.of(np.zeros(1))}, ["out"], max_rows=1)
    assert len(caught.value.message) < 200
