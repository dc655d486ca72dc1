"""A descriptor pool of the server's own for the `inference` messages.

protobuf's default pool takes each full name once. The clients of the Open Inference Protocol (tritonclient, kserve)
register `inference.ModelInferRequest` and the rest there, so the server keeps its own copies here: both can be imported
into one process, in any order, and exchange bytes.
"""

from typing import Any, cast

from google.protobuf.descriptor import Descriptor, FileDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
from google.protobuf.message import Message
from google.protobuf.reflection import GeneratedProtocolMessageType

POOL = DescriptorPool()


def define(module: dict[str, Any], serialized: bytes) -> FileDescriptor:
    """Adds a serialized FileDescriptorProto to the pool, and its messages and enums to a module's namespace.

    Files that it imports must have been defined before. protobuf's own builder does the same for generated modules,
    but registers each message with the default pool too where protobuf runs in pure Python.
    """
    file = POOL.AddSerializedFile(serialized)
    for name, enum in file.enum_types_by_name.items():
        module[name] = EnumTypeWrapper(enum)
        module.update({value.name: value.number for value in enum.values})
    for name, message in file.message_types_by_name.items():
        module[name] = _message_class(message, module["__name__"])
    return file


def _message_class(descriptor: Descriptor, module: str, outer: str = "") -> type[Message]:
    """Makes the class of a message, with the classes of the messages nested in it as attributes."""
    qualified = f"{outer}{descriptor.name}"
    attributes: dict[str, Any] = {
        name: _message_class(nested, module, f"{qualified}.")
        for name, nested in descriptor.nested_types_by_name.items()
    }
    attributes |= {"DESCRIPTOR": descriptor, "__module__": module, "__qualname__": qualified}
    return cast("type[Message]", GeneratedProtocolMessageType(descriptor.name, (Message,), attributes))
