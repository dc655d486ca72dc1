import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from server.rpc.open_inference.codec_input import stack


def test_rows_of_one_length_are_stacked_as_they_are():
    assert stack([np.array([[1, 2]]), np.array([[3, 4]])]).tolist() == [[1, 2], [3, 4]]


def test_shorter_rows_are_filled_up_with_zeros_at_the_end():
    found = stack([np.ones((1, 2, 1), dtype=np.float32), np.ones((1, 1, 3), dtype=np.float32)])
    assert found.dtype == np.float32
    assert found.tolist() == [[[1, 0, 0], [1, 0, 0]], [[1, 1, 1], [0, 0, 0]]]


def test_rows_of_single_numbers_are_stacked():
    assert stack([np.array([1]), np.array([2])]).tolist() == [1, 2]


@given(st.lists(st.integers(0, 6), min_size=1, max_size=6))
def test_every_row_keeps_its_content(lengths):
    rows = [np.arange(1, length + 1)[None] for length in lengths]
    found = stack(rows)
    assert found.shape == (len(rows), max(lengths))
    for row, length, padded in zip(rows, lengths, found, strict=True):
        assert padded[:length].tolist() == row[0].tolist()
        assert not padded[length:].any()
