import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from server.errors import MalformedTensor, PayloadTooLarge, SignatureMismatch
from server.rpc.open_inference.tensors import read_inputs, read_tensor, write_raw
from server.tensors import NUMPY_DTYPES, Datatype
from server.wire.grpc_service_pb2 import InferTensorContents, ModelInferRequest

LIMIT = 1 << 20
NUMERIC = [datatype for datatype in Datatype if datatype is not Datatype.BYTES]


@pytest.mark.parametrize("datatype", NUMERIC)
@given(data=st.data())
def test_reading_undoes_writing(datatype, data):
    array = data.draw(hnp.arrays(NUMPY_DTYPES[datatype], hnp.array_shapes(max_dims=3, max_side=5, min_dims=0)))
    found = read_tensor("x", datatype.value, array.shape, write_raw(datatype, array), LIMIT)
    assert found.datatype is datatype
    assert found.shape == array.shape
    assert found.array.tobytes() == array.tobytes()


def test_bytes_elements_survive():
    array = np.array([[b"a", b""], [b"\xff\0", b"long" * 50]], dtype=np.object_)
    found = read_tensor("x", "BYTES", (2, 2), write_raw(Datatype.BYTES, array), LIMIT)
    assert found.array.tolist() == array.tolist()


def test_raw_numbers_are_not_copied():
    raw = np.arange(6, dtype=np.float32).tobytes()
    found = read_tensor("x", "FP32", (2, 3), raw, LIMIT)
    assert np.shares_memory(found.array, np.frombuffer(raw, dtype=np.uint8))


def test_an_array_in_another_order_is_written_row_by_row():
    array = np.arange(6, dtype=np.int32).reshape(2, 3).T
    assert write_raw(Datatype.INT32, array) == np.array([0, 3, 1, 4, 2, 5], dtype=np.int32).tobytes()


@pytest.mark.parametrize(
    ("datatype", "shape", "raw"),
    [
        ("FP32", (2,), b"\0" * 7),
        ("FP32", (2,), b"\0" * 12),
        ("FP32", (), b""),
        ("FP32", (-1,), b"\0" * 4),
        ("FP32", (-2, -2), b"\0" * 16),
        ("INT64", (2**31,), b"\0" * 8),
        ("INT64", (2**62, 4), b""),
        ("UINT8", (2**16, 2**16, 2**16, 2**16), b""),
        ("UINT8", (0, 2**40), b""),
        ("UINT8", (1,) * 33, b"\0"),
        ("BOOL", (2,), b"\0\x02"),
        ("BYTES", (2**31 - 1,), b"\0\0\0\0"),
        ("FLOAT", (1,), b"\0\0\0\0"),
        ("", (1,), b"\0"),
        ("fp32", (1,), b"\0\0\0\0"),
    ],
)
def test_a_tensor_that_contradicts_itself_is_refused(datatype, shape, raw):
    with pytest.raises(MalformedTensor, match="input 'x'"):
        read_tensor("x", datatype, shape, raw, LIMIT)


def test_a_tensor_over_the_limit_is_refused():
    with pytest.raises(PayloadTooLarge) as caught:
        read_tensor("x", "UINT8", (11,), b"\0" * 11, 10)
    assert caught.value.metadata == {"bytes": "11", "max_bytes": "10"}


def test_a_tensor_at_the_limit_is_read():
    assert read_tensor("x", "UINT8", (10,), b"\0" * 10, 10).shape == (10,)


def test_typed_contents_over_the_limit_are_refused():
    with pytest.raises(PayloadTooLarge):
        read_tensor("x", "BYTES", (1,), InferTensorContents(bytes_contents=[b"x" * 20]), 10)


def test_typed_contents_are_shaped():
    found = read_tensor("x", "FP32", (2, 1), InferTensorContents(fp32_contents=[1, 2]), LIMIT)
    assert found.array.tolist() == [[1], [2]]


def test_typed_contents_of_another_count_are_refused():
    with pytest.raises(MalformedTensor, match="3 elements, but shape"):
        read_tensor("x", "FP32", (2,), InferTensorContents(fp32_contents=[1, 2, 3]), LIMIT)


@given(st.sampled_from(list(Datatype)), st.lists(st.integers(-(2**63), 2**63 - 1), max_size=5), st.binary(max_size=64))
def test_any_shape_with_any_bytes_is_read_or_refused(datatype, shape, raw):
    try:
        found = read_tensor("x", datatype.value, shape, raw, LIMIT)
    except MalformedTensor:
        return
    assert found.shape == tuple(shape)


def request_of(*inputs, raw=()):
    request = ModelInferRequest(raw_input_contents=raw)
    for name, contents in inputs:
        item = request.inputs.add(name=name, datatype="FP32", shape=[1])
        if contents is not None:
            item.contents.fp32_contents.extend(contents)
    return request


def test_raw_contents_belong_to_the_inputs_in_order():
    one, two = np.float32(1).tobytes(), np.float32(2).tobytes()
    found = read_inputs(request_of(("a", None), ("b", None), raw=[one, two]), LIMIT)
    assert {name: tensor.array.tolist() for name, tensor in found.items()} == {"a": [1], "b": [2]}


def test_mixing_raw_and_typed_contents_is_refused():
    with pytest.raises(MalformedTensor, match="use one of the two"):
        read_inputs(request_of(("a", [1.0]), ("b", None), raw=[b"\0" * 4]), LIMIT)


@pytest.mark.parametrize("count", [1, 3])
def test_a_wrong_number_of_raw_contents_is_refused(count):
    with pytest.raises(MalformedTensor, match=f"{count} raw_input_contents for 2 inputs"):
        read_inputs(request_of(("a", None), ("b", None), raw=[b"\0" * 4] * count), LIMIT)


def test_a_doubled_input_is_refused():
    with pytest.raises(SignatureMismatch, match="given twice"):
        read_inputs(request_of(("a", [1.0]), ("a", [1.0])), LIMIT)


def test_an_input_without_contents_is_refused():
    with pytest.raises(MalformedTensor, match="0 elements"):
        read_inputs(request_of(("a", None)), LIMIT)
