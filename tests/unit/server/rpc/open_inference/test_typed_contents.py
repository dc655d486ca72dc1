import numpy as np
import pytest

from server.errors import MalformedTensor
from server.rpc.open_inference.typed_contents import FIELDS, read_typed
from server.tensors import NUMPY_DTYPES, Datatype
from server.wire.grpc_service_pb2 import InferTensorContents

VALUES = {
    "bool_contents": [True, False],
    "bytes_contents": [b"a", b""],
    "fp32_contents": [0.5, -1],
    "fp64_contents": [0.1],
}


@pytest.mark.parametrize("datatype", FIELDS)
def test_each_datatype_is_read_from_its_field(datatype):
    values = VALUES.get(FIELDS[datatype], [1, 2, 100])
    found = read_typed("x", datatype, InferTensorContents(**{FIELDS[datatype]: values}))
    assert found.dtype == NUMPY_DTYPES[datatype]
    assert found.tolist() == values


@pytest.mark.parametrize("datatype", [Datatype.FP16, Datatype.BF16])
def test_datatypes_without_a_field_are_refused(datatype):
    with pytest.raises(MalformedTensor, match="no typed contents"):
        read_typed("x", datatype, InferTensorContents(fp32_contents=[1.0]))


@pytest.mark.parametrize(
    ("datatype", "contents"),
    [
        (Datatype.INT8, {"int_contents": [128]}),
        (Datatype.INT8, {"int_contents": [-129]}),
        (Datatype.INT16, {"int_contents": [2**15]}),
        (Datatype.UINT8, {"uint_contents": [256]}),
        (Datatype.UINT16, {"uint_contents": [2**16]}),
    ],
)
def test_a_value_that_does_not_fit_is_refused(datatype, contents):
    with pytest.raises(MalformedTensor, match="out of the range"):
        read_typed("x", datatype, InferTensorContents(**contents))


def test_numbers_in_another_field_are_refused():
    with pytest.raises(MalformedTensor, match="belongs into int64_contents, found int_contents"):
        read_typed("x", Datatype.INT64, InferTensorContents(int_contents=[1]))


def test_numbers_in_a_second_field_are_refused():
    with pytest.raises(MalformedTensor, match="found fp64_contents"):
        read_typed("x", Datatype.FP32, InferTensorContents(fp32_contents=[1], fp64_contents=[1]))


def test_no_contents_are_no_elements():
    assert read_typed("x", Datatype.INT64, InferTensorContents()).size == 0


def test_extreme_values_survive():
    assert read_typed("x", Datatype.UINT64, InferTensorContents(uint64_contents=[2**64 - 1])).tolist() == [2**64 - 1]
    assert read_typed("x", Datatype.INT64, InferTensorContents(int64_contents=[-(2**63)])).dtype == np.int64
