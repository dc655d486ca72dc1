import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.batching.admission import Admission
from server.loading.samples import USUAL_LENGTH, USUAL_SIZE, Samples
from server.manifest import FixedAxis, FreeAxis, GraphSpec, InputSpec, LengthAxis, Manifest, OutputSpec, RowAxis
from server.runtime.golden import GoldenRow
from server.tensors import Datatype, Tensor
from tests.support.requests import IDS, MASK

NUMBERS = [datatype for datatype in Datatype if datatype is not Datatype.BYTES]


def manifest(*inputs):
    return Manifest(
        name="m",
        task="tensors",
        graphs=(GraphSpec(file="model.onnx", opset=20),),
        inputs=inputs,
        outputs=(OutputSpec(name="out", datatype=Datatype.FP32, axes=(RowAxis(),)),),
    )


def golden(*rows):
    return [GoldenRow({"ids": np.array([ids]), "mask": np.zeros((1, len(ids)), np.bool_)}, {}) for ids in rows]


axes = st.one_of(
    st.builds(LengthAxis, name=st.sampled_from(["length", "other"]), max=st.none() | st.integers(1, 300)),
    st.builds(FixedAxis, size=st.integers(1, 4)),
    st.builds(FreeAxis, name=st.sampled_from([None, "width"]), max=st.just(20)),
)


@st.composite
def manifests(draw):
    """Any inputs, of any datatypes and axes; a bound for each named length."""
    bounds = {name: draw(st.none() | st.integers(1, 300)) for name in ("length", "other")}
    inputs = []
    for number in range(draw(st.integers(1, 3))):
        found = [
            axis.model_copy(update={"max": bounds[axis.name]}) if axis.kind == "length" else axis
            for axis in draw(st.lists(axes, max_size=2))
        ]
        role = draw(st.sampled_from(["data", "mask"]))
        datatype = draw(st.sampled_from(NUMBERS if role == "mask" else list(Datatype)))
        inputs.append(InputSpec(name=f"x{number}", datatype=datatype, axes=(RowAxis(), *found), role=role))
    return manifest(*inputs)


@settings(max_examples=60)
@given(manifests(), st.integers(1, 3), st.data())
def test_made_up_rows_are_admitted_by_any_manifest(manifest, count, data):
    samples = Samples(manifest)
    length = data.draw(st.integers(1, min(samples.longest, 32)))
    rows = samples.rows(count, length, ["out"])
    tensors = {spec.name: Tensor(spec.datatype, rows.inputs[spec.name]) for spec in manifest.inputs}
    admitted = Admission(manifest, max_rows=count).admit(tensors, ["out"])
    assert (rows.rows, rows.lengths) == (admitted.rows, admitted.lengths)
    assert rows.outputs == ("out",)


def test_golden_rows_are_repeated_up_to_the_length_and_cut_down_to_it():
    samples = Samples(manifest(IDS, MASK), golden([5, 6, 7]))
    assert samples.rows(1, 7, ["sum"]).inputs["ids"].tolist() == [[5, 6, 7, 5, 6, 7, 5]]
    assert samples.rows(1, 2, ["sum"]).inputs["ids"].tolist() == [[5, 6]]


def test_nothing_of_a_golden_row_is_hidden_whatever_its_mask_said():
    rows = Samples(manifest(IDS, MASK), golden([5, 6])).rows(1, 4, ["sum"])
    assert rows.inputs["mask"].all()
    assert not rows.masked


def test_golden_rows_take_turns_from_the_first_asked_for():
    samples = Samples(manifest(IDS, MASK), golden([1], [2], [3]))
    assert samples.rows(4, 1, ["sum"], first=1).inputs["ids"].ravel().tolist() == [2, 3, 1, 2]


def test_an_input_that_golden_rows_lack_is_made_up():
    types = InputSpec(name="types", datatype=Datatype.INT64, axes=IDS.axes, optional=True)
    rows = Samples(manifest(IDS, types), golden([1, 2])).rows(2, 3, ["sum"])
    assert rows.inputs["types"].shape == (2, 3)


def test_made_up_tokens_are_of_every_vocabulary_and_differ():
    ids = Samples(manifest(IDS)).rows(4, 32, ["sum"]).inputs["ids"]
    assert set(ids.ravel().tolist()) == {0, 1}
    assert len({row.tobytes() for row in ids}) == 4


def test_made_up_rows_are_the_same_again_in_another_process():
    first, second = (Samples(manifest(IDS)).rows(2, 16, ["sum"]).inputs["ids"] for _ in range(2))
    assert np.array_equal(first, second)


@pytest.mark.parametrize(
    ("inputs", "longest"),
    [
        ([IDS], USUAL_LENGTH),
        ([IDS.model_copy(update={"axes": (RowAxis(), LengthAxis(max=12))})], 12),
        ([IDS.model_copy(update={"axes": (RowAxis(), LengthAxis(max=12), LengthAxis(name="keys", max=7))})], 7),
        ([InputSpec(name="x", datatype=Datatype.FP32, axes=(RowAxis(), FixedAxis(size=3)))], 1),
    ],
)
def test_the_longest_length_fits_every_axis(inputs, longest):
    assert Samples(manifest(*inputs)).longest == longest


def test_free_axes_take_a_usual_size_within_their_bound():
    spec = InputSpec(name="x", datatype=Datatype.FP32, axes=(RowAxis(), FreeAxis(), FreeAxis(max=3)))
    assert Samples(manifest(spec)).rows(1, 1, ["out"]).inputs["x"].shape == (1, USUAL_SIZE, 3)


def test_an_input_without_a_row_axis_is_there_once():
    scale = InputSpec(name="scale", datatype=Datatype.FP32, axes=(FixedAxis(size=2),))
    assert Samples(manifest(IDS, scale)).rows(3, 4, ["out"]).inputs["scale"].shape == (2,)
