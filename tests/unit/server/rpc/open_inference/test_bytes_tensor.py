import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import MalformedTensor
from server.rpc.open_inference.bytes_tensor import join_bytes, split_bytes


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_splitting_undoes_joining(elements):
    assert split_bytes("x", join_bytes(elements), len(elements)).tolist() == elements


def test_the_length_is_four_little_endian_bytes():
    assert join_bytes([b"ab", b""]) == b"\x02\0\0\0ab\0\0\0\0"


@pytest.mark.parametrize(
    ("content", "elements", "complaint"),
    [
        (b"\x02\0\0\0ab", 2, "cannot hold 2"),
        (b"\x01\0\0\0abc\0", 2, "end before the length of element 1"),
        (b"\x09\0\0\0ab", 1, "longer than the bytes that are left"),
        (b"\xff\xff\xff\xffab", 1, "longer than the bytes that are left"),
        (b"\x02\0\0\0abc", 1, "1 bytes left"),
        (b"abc", 0, "3 bytes left"),
        (b"", 2**62, "cannot hold"),
    ],
)
def test_lengths_that_do_not_add_up_are_refused(content, elements, complaint):
    with pytest.raises(MalformedTensor, match=complaint):
        split_bytes("x", content, elements)


@given(st.binary(max_size=60), st.integers(0, 20))
def test_random_bytes_are_split_or_refused(content, elements):
    try:
        found = split_bytes("x", content, elements)
    except MalformedTensor:
        return
    assert join_bytes(found.tolist()) == content


def test_elements_are_held_as_objects():
    assert split_bytes("x", join_bytes([b"a\0"]), 1).dtype == np.object_
