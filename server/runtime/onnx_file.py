"""What the server must know of an ONNX file before a runtime opens it: its opset and the files that it points at.

The server does not carry the `onnx` package. Messages here are skeletons of ONNX's (onnx.proto3, same field numbers),
built in a pool of their own; protobuf skips every field that a skeleton leaves out.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError, Message

from server.errors import ArtifactCorrupt

_Field = descriptor_pb2.FieldDescriptorProto
_PACKAGE = "attendant.onnx_skeleton"

# message -> (field, number, type, repeated); a type in capitals is a scalar, any other names a message below.
SKELETON: dict[str, tuple[tuple[str, int, str, bool], ...]] = {
    "StringStringEntryProto": (("key", 1, "BYTES", False), ("value", 2, "BYTES", False)),
    "OperatorSetIdProto": (("domain", 1, "BYTES", False), ("version", 2, "INT64", False)),
    "TensorProto": (
        ("name", 8, "BYTES", False),
        ("external_data", 13, "StringStringEntryProto", True),
        ("data_location", 14, "INT32", False),
    ),
    "SparseTensorProto": (("values", 1, "TensorProto", False), ("indices", 2, "TensorProto", False)),
    "AttributeProto": (
        ("t", 5, "TensorProto", False),
        ("g", 6, "GraphProto", False),
        ("tensors", 10, "TensorProto", True),
        ("graphs", 11, "GraphProto", True),
        ("sparse_tensor", 22, "SparseTensorProto", False),
        ("sparse_tensors", 23, "SparseTensorProto", True),
    ),
    "NodeProto": (("op_type", 4, "BYTES", False), ("attribute", 5, "AttributeProto", True)),
    "GraphProto": (
        ("node", 1, "NodeProto", True),
        ("initializer", 5, "TensorProto", True),
        ("sparse_initializer", 15, "SparseTensorProto", True),
    ),
    "FunctionProto": (("node", 7, "NodeProto", True), ("attribute_proto", 11, "AttributeProto", True)),
    "TrainingInfoProto": (("initialization", 1, "GraphProto", False), ("algorithm", 2, "GraphProto", False)),
    "ModelProto": (
        ("graph", 7, "GraphProto", False),
        ("opset_import", 8, "OperatorSetIdProto", True),
        ("training_info", 20, "TrainingInfoProto", True),
        ("functions", 25, "FunctionProto", True),
    ),
}

_LOOPS = frozenset({b"Loop", b"Scan"})
_EXTERNAL = 1
"""TensorProto.DataLocation.EXTERNAL."""


def _model_class() -> type[Message]:
    file = descriptor_pb2.FileDescriptorProto(name="onnx_skeleton.proto", package=_PACKAGE, syntax="proto3")
    for message, fields in SKELETON.items():
        described = file.message_type.add(name=message)
        for name, number, kind, repeated in fields:
            field = described.field.add(name=name, number=number)
            field.label = _Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL
            if kind.isupper():
                field.type = _Field.Type.Value(f"TYPE_{kind}")
            else:
                field.type = _Field.TYPE_MESSAGE
                field.type_name = f".{_PACKAGE}.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.ModelProto"))


_ModelProto = _model_class()


@dataclass(frozen=True, slots=True)
class OnnxFile:
    """The facts about one ONNX file."""

    opset: int
    """The version of the standard operator set."""
    external_files: frozenset[str]
    """The locations of external tensor data, as they are written in the file: relative paths, or anything else."""
    loops: bool
    """Whether the graph has loops, so that what a run costs depends on the values of its inputs."""


MAX_ONNX_BYTES = 2**31 - 1
"""The most that one protobuf message can hold; larger models keep their weights in external data."""


def read_onnx(path: Path) -> bytes:
    """The bytes of an ONNX file.

    Raises ArtifactCorrupt if it cannot be read, or is too large to be one.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_ONNX_BYTES + 1)
    except OSError as error:
        raise ArtifactCorrupt(f"{path.name} cannot be read") from error
    if len(content) > MAX_ONNX_BYTES:
        raise ArtifactCorrupt(f"{path.name} is larger than an ONNX file can be; weights belong in external data")
    return content


def parse_onnx(content: bytes) -> OnnxFile:
    """Reads the bytes of an ONNX file.

    Raises ArtifactCorrupt if they are no ONNX model with a graph and a standard operator set.
    """
    model = _ModelProto()
    try:
        model.ParseFromString(content)
    except DecodeError as error:
        raise ArtifactCorrupt("the graph file is not ONNX") from error
    if not model.HasField("graph"):
        raise ArtifactCorrupt("the ONNX file holds no graph")
    opset = max((entry.version for entry in model.opset_import if entry.domain in (b"", b"ai.onnx")), default=0)  # type: ignore[attr-defined]
    if opset < 1:
        raise ArtifactCorrupt("the ONNX file imports no standard operator set")
    below = list(_below(model))
    tensors = [message for message in below if message.DESCRIPTOR.name == "TensorProto"]
    locations = {_location(tensor) for tensor in tensors if _is_external(tensor)}
    nodes = (message for message in below if message.DESCRIPTOR.name == "NodeProto")
    loops = any(node.op_type in _LOOPS for node in nodes)  # type: ignore[attr-defined]
    return OnnxFile(opset=opset, external_files=frozenset(locations), loops=loops)


def _below(message: Message) -> Iterator[Message]:
    """Every tensor and node below `message`, wherever it hides: initializers, attributes, subgraphs, functions."""
    pending = [message]
    while pending:
        current = pending.pop()
        if current.DESCRIPTOR.name == "TensorProto":
            yield current
            continue
        if current.DESCRIPTOR.name == "NodeProto":
            yield current
        for field, value in current.ListFields():
            if field.type == _Field.TYPE_MESSAGE:
                pending.extend([value] if isinstance(value, Message) else value)


def _is_external(tensor: Message) -> bool:
    # A tensor with entries but the default location is ambiguous: treat it as external, so that it is checked.
    return bool(tensor.data_location == _EXTERNAL or tensor.external_data)  # type: ignore[attr-defined]


def _location(tensor: Message) -> str:
    entries = {entry.key: entry.value for entry in tensor.external_data}  # type: ignore[attr-defined]
    location = entries.get(b"location", b"")
    # The last entry of a key wins above; a runtime may read the first, so two are refused.
    if sum(entry.key == b"location" for entry in tensor.external_data) != 1 or not location:  # type: ignore[attr-defined]
        raise ArtifactCorrupt("a tensor's external data has no single location")
    try:
        return bytes(location).decode()
    except UnicodeDecodeError as error:
        raise ArtifactCorrupt("a tensor's external data has a location that is not UTF-8") from error
