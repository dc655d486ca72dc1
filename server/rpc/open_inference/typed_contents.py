"""Typed contents: numbers in protobuf's own repeated fields, one field for several datatypes."""

from collections.abc import Mapping

import numpy as np

from server.errors import MalformedTensor
from server.rpc.addressing import shown
from server.tensors import NUMPY_DTYPES, Array, Datatype
from server.wire.grpc_service_pb2 import InferTensorContents

FIELDS: Mapping[Datatype, str] = {
    Datatype.BOOL: "bool_contents",
    Datatype.INT8: "int_contents",
    Datatype.INT16: "int_contents",
    Datatype.INT32: "int_contents",
    Datatype.INT64: "int64_contents",
    Datatype.UINT8: "uint_contents",
    Datatype.UINT16: "uint_contents",
    Datatype.UINT32: "uint_contents",
    Datatype.UINT64: "uint64_contents",
    Datatype.FP32: "fp32_contents",
    Datatype.FP64: "fp64_contents",
    Datatype.BYTES: "bytes_contents",
}
"""The field for each datatype; the protocol has none for FP16 and BF16, which come raw only."""


def read_typed(name: str, datatype: Datatype, contents: InferTensorContents) -> Array:
    """The flat array of the field that belongs to `datatype`; empty where no contents came at all.

    Raises MalformedTensor for a datatype that has no field, for numbers in another field, or out of its range.
    """
    field = FIELDS.get(datatype)
    if field is None:
        raise MalformedTensor(f"input {shown(name)}: {datatype} has no typed contents; send raw_input_contents")
    strange = [descriptor.name for descriptor, _ in contents.ListFields() if descriptor.name != field]
    if strange:
        raise MalformedTensor(f"input {shown(name)}: {datatype} belongs into {field}, found {', '.join(strange)}")
    values = getattr(contents, field)
    dtype = NUMPY_DTYPES[datatype]
    if datatype is Datatype.BYTES:
        held = np.empty(len(values), dtype=np.object_)
        held[:] = values
        return held
    if field not in ("int_contents", "uint_contents"):
        return np.array(values, dtype=dtype)
    wide = np.array(values, dtype=np.int64)
    bounds = np.iinfo(dtype.str)
    if wide.size and not (bounds.min <= wide.min() and wide.max() <= bounds.max):
        raise MalformedTensor(f"input {shown(name)}: a value is out of the range of {datatype}")
    return wide.astype(dtype)
