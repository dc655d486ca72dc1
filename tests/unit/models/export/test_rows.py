import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.export.rows import crop_row, pad_rows, row_lengths
from server.manifest import FixedAxis, InputSpec, LengthAxis, OutputSpec, RowAxis
from server.tensors import Datatype

ROW, LENGTH = RowAxis(), LengthAxis()
INPUTS = (
    InputSpec(name="ids", datatype=Datatype.INT64, axes=(ROW, LENGTH), pad=-7),
    InputSpec(name="mask", datatype=Datatype.BOOL, axes=(ROW, LENGTH), pad=False, role="mask"),
    InputSpec(name="extra", datatype=Datatype.FP32, axes=(ROW, FixedAxis(size=2))),
)
ECHOES = tuple(OutputSpec(name=spec.name, datatype=spec.datatype, axes=spec.axes) for spec in INPUTS)


def row(length):
    return {
        "ids": np.arange(1, length + 1, dtype=np.int64)[None],
        "mask": np.ones((1, length), dtype=np.bool_),
        "extra": np.full((1, 2), length, dtype=np.float32),
    }


def test_padding_fills_length_axes_with_the_inputs_own_pad_value():
    batch = pad_rows([row(3), row(1)], INPUTS)
    assert batch["ids"].tolist() == [[1, 2, 3], [1, -7, -7]]
    assert batch["mask"].tolist() == [[True, True, True], [True, False, False]]
    assert batch["extra"].tolist() == [[3, 3], [1, 1]]
    assert {name: array.dtype for name, array in batch.items()} == {name: array.dtype for name, array in row(1).items()}


def test_lengths_are_those_of_the_length_axes():
    assert row_lengths(row(4), INPUTS) == {"length": 4}


@given(st.lists(st.integers(1, 12), min_size=1, max_size=6))
def test_cropping_a_batch_gives_every_row_back(lengths):
    rows = [row(length) for length in lengths]
    batch = pad_rows(rows, INPUTS)
    for index, original in enumerate(rows):
        cropped = crop_row(batch, index, ECHOES, row_lengths(original, INPUTS))
        assert cropped.keys() == original.keys()
        for name, array in cropped.items():
            np.testing.assert_array_equal(array, original[name])
