import numpy as np
import pytest
from attendant.v1 import attend_pb2 as wire

from server.errors import (
    EmptyInput,
    MalformedTensor,
    PayloadTooLarge,
    SequenceTooLong,
    SignatureMismatch,
)
from server.manifest import FixedAxis, FreeAxis, GraphSpec, InputSpec, LengthAxis, Manifest, OutputSpec, RowAxis
from server.rpc.attendant.attend_input import read_input
from server.tensors import Datatype

MAX_BYTES = 400
ROW, QUERIES, KEYS = RowAxis(), LengthAxis(name="queries", max=6), LengthAxis(name="keys")
WIDTH, VALUE_WIDTH = FreeAxis(name="width", max=4), FreeAxis(name="value_width")


def floats(name, *axes):
    return InputSpec(name=name, datatype=Datatype.FP32, axes=(ROW, *axes))


MANIFEST = Manifest(
    name="bilinear",
    task="attention",
    graphs=(GraphSpec(file="model.onnx", opset=20),),
    inputs=(
        floats("query", QUERIES, WIDTH),
        floats("key", KEYS, WIDTH),
        floats("value", KEYS, VALUE_WIDTH),
        InputSpec(name="mask", datatype=Datatype.BOOL, axes=(ROW, QUERIES, KEYS), role="mask", optional=True),
        floats("weight", FixedAxis(size=2), WIDTH),
    ),
    outputs=(OutputSpec(name="context", datatype=Datatype.FP32, axes=(ROW, QUERIES, VALUE_WIDTH)),),
)


def tensor(array):
    array = np.asarray(array)
    return wire.Tensor(shape=array.shape, values=array.tobytes())


def item(**changes):
    """Two queries, three keys, all fitting; a change of None leaves a tensor out."""
    given = {
        "query": np.ones((2, 4), np.float32),
        "key": np.ones((3, 4), np.float32),
        "value": np.ones((3, 1), np.float32),
        "weight": np.ones((2, 4), np.float32),
        **changes,
    }
    tensors = {
        name: one if isinstance(one, wire.Tensor) else tensor(one) for name, one in given.items() if one is not None
    }
    fields = {name: tensors.pop(name) for name in ("query", "key", "value", "mask") if name in tensors}
    return wire.AttendInput(**fields, parameters=tensors)


def read(**changes):
    return read_input(MANIFEST, item(**changes), MAX_BYTES)


def test_tensors_get_a_row_axis_and_views_of_the_messages_bytes():
    found = read(mask=np.eye(2, 3, dtype=np.bool_))
    assert {name: one.shape for name, one in found.tensors.items()} == {
        "query": (1, 2, 4),
        "key": (1, 3, 4),
        "value": (1, 3, 1),
        "mask": (1, 2, 3),
        "weight": (1, 2, 4),
    }
    assert found.tensors["mask"].datatype is Datatype.BOOL
    assert found.tensors["mask"].array[0].tolist() == [[True, False, False], [False, True, False]]
    assert not found.tensors["query"].array.flags.owndata
    assert found.sizes == {"queries": 2, "keys": 3, "width": 4, "value_width": 1}


def test_an_absent_mask_is_left_to_admission():
    assert "mask" not in read().tensors


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"query": None}, SignatureMismatch, "missing query; bilinear takes query, key, value, mask (opt"),
        ({"weight": None}, SignatureMismatch, "missing weight; "),
        ({"combine": np.ones(1, np.float32)}, SignatureMismatch, "bilinear has no input 'combine'; it takes query"),
        ({"x" * 10_000: np.ones(1, np.float32)}, SignatureMismatch, "xxx...'; it takes"),
        ({"query": np.ones(4, np.float32)}, SignatureMismatch, "query has rank 1; expected 2: [queries, width]"),
        ({"weight": np.ones((2, 4, 1), np.float32)}, SignatureMismatch, "weight has rank 3; expected 2: [2, width]"),
        ({"query": wire.Tensor(shape=[1] * 10_000)}, SignatureMismatch, "query has rank 10000; expected 2"),
        ({"value": np.ones((2, 1), np.float32)}, SignatureMismatch, "value of shape [2, 1] has 2 keys, but key has 3"),
        ({"key": np.ones((3, 2), np.float32)}, SignatureMismatch, "of shape [3, 2] has width 2, but query has 4"),
        ({"mask": np.ones((3, 2), np.bool_)}, SignatureMismatch, "mask of shape [3, 2] has 3 queries, but query has 2"),
        ({"mask": np.ones((2, 2), np.bool_)}, SignatureMismatch, "mask of shape [2, 2] has 2 keys, but key has 3"),
        ({"weight": np.ones((3, 4), np.float32)}, SignatureMismatch, "an axis of size 2 is 3 long"),
        ({"query": np.ones((0, 4), np.float32)}, EmptyInput, "query of shape [0, 4] is empty"),
        ({"key": np.ones((0, 4), np.float32), "value": np.ones((0, 1), np.float32)}, EmptyInput, "key of shape [0, 4]"),
        ({"query": wire.Tensor(shape=[2, 4])}, MalformedTensor, "query: 0 bytes, but FP32 of shape [2, 4] takes 32"),
        ({"query": wire.Tensor(shape=[2, 4], values=b"x" * 31)}, MalformedTensor, "query: 31 bytes"),
        ({"query": wire.Tensor(shape=[2**32 - 1] * 2, values=b"x")}, MalformedTensor, "takes 73786976260478468100"),
        ({"mask": tensor(np.full((2, 3), 7, np.uint8))}, MalformedTensor, "mask: a byte of a mask is 0 or 1, found 7"),
        ({"query": np.full((2, 4), np.nan, np.float32)}, MalformedTensor, "query holds NaN or infinity at [0, 0]"),
        ({"value": np.float32([[1], [2], [-np.inf]])}, MalformedTensor, "value holds NaN or infinity at [2, 0]"),
        ({"weight": np.float32([[1] * 4, [1, 1, np.inf, 1]])}, MalformedTensor, "holds NaN or infinity at [1, 2]"),
        ({"query": np.ones((7, 4), np.float32)}, SequenceTooLong, "has 7 queries; the mechanism takes at most 6"),
        ({"query": np.ones((2, 5), np.float32)}, PayloadTooLarge, "has width 5; the mechanism takes at most 4"),
        ({"value": np.ones((3, 99), np.float32)}, PayloadTooLarge, "value: 1188 bytes are over the limit of 400"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(changes, error, message):
    with pytest.raises(error) as caught:
        read(**changes)
    assert message in caught.value.message
    assert len(caught.value.message) < 250


def test_a_field_that_comes_as_a_parameter_is_refused():
    given = item()
    given.parameters["query"].CopyFrom(given.query)
    with pytest.raises(SignatureMismatch, match="query is among the parameters; it has a field of its own"):
        read_input(MANIFEST, given, MAX_BYTES)
