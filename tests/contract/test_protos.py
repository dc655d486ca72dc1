"""The wire is what its .proto files say, and `inference` is what its existing clients speak."""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, FileDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import Default, DescriptorPool
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_reflection.v1alpha import reflection
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from tritonclient.grpc import model_config_pb2 as triton_config
from tritonclient.grpc import service_pb2 as triton_service

from protos import generate
from server.rpc.reflection import reflection_pool
from server.wire import grpc_service_pb2, model_config_pb2
from server.wire.pool import POOL

FILES = [
    pytest.param(grpc_service_pb2, triton_service, id="grpc_service"),
    pytest.param(model_config_pb2, triton_config, id="model_config"),
]
SERVICES = [
    "inference.GRPCInferenceService",
    "attendant.v1.AttendantService",
    "grpc.health.v1.Health",
    "grpc.reflection.v1alpha.ServerReflection",
]


def describe_file(file: FileDescriptor) -> dict[str, object]:
    """Everything about a file that reaches the wire, by full name."""
    described: dict[str, object] = {}
    for enum in file.enum_types_by_name.values():
        described |= describe_enum(enum)
    for message in file.message_types_by_name.values():
        described |= describe_message(message)
    for service in file.services_by_name.values():
        for method in service.methods:
            described[method.full_name] = (
                method.input_type.full_name,
                method.client_streaming,
                method.output_type.full_name,
                method.server_streaming,
            )
    return described


def describe_message(message: Descriptor) -> dict[str, object]:
    described: dict[str, object] = {
        message.full_name: (message.GetOptions().map_entry, sorted(oneof.name for oneof in message.oneofs))
    }
    for field in message.fields:
        described[field.full_name] = describe_field(field)
    for enum in message.enum_types:
        described |= describe_enum(enum)
    for nested in message.nested_types:
        described |= describe_message(nested)
    return described


def describe_field(field: FieldDescriptor) -> tuple[object, ...]:
    return (
        field.number,
        field.type,
        field.is_repeated,
        field.is_packed,
        field.has_presence,
        field.message_type.full_name if field.message_type else None,
        field.enum_type.full_name if field.enum_type else None,
        field.containing_oneof.name if field.containing_oneof else None,
    )


def describe_enum(enum: EnumDescriptor) -> dict[str, object]:
    return {f"{enum.full_name}.{value.name}": value.number for value in enum.values}


@pytest.mark.parametrize(("ours", "theirs"), FILES)
def test_inference_equals_tritonclients_descriptors(ours: ModuleType, theirs: ModuleType) -> None:
    expected = describe_file(theirs.DESCRIPTOR)

    assert len(expected) > 100
    assert describe_file(ours.DESCRIPTOR) == expected


@pytest.mark.parametrize(("ours", "theirs"), FILES)
def test_every_message_and_enum_of_inference_is_in_the_generated_module(ours: ModuleType, theirs: ModuleType) -> None:
    for name in theirs.DESCRIPTOR.message_types_by_name:
        assert getattr(ours, name).DESCRIPTOR is POOL.FindMessageTypeByName(f"inference.{name}")
    for name, enum in theirs.DESCRIPTOR.enum_types_by_name.items():
        assert dict(getattr(ours, name).items()) == {value.name: value.number for value in enum.values}


def test_inference_stays_out_of_the_default_pool() -> None:
    assert Default().FindMessageTypeByName("inference.ModelInferRequest") is triton_service.ModelInferRequest.DESCRIPTOR
    assert grpc_service_pb2.ModelInferRequest.DESCRIPTOR is not triton_service.ModelInferRequest.DESCRIPTOR


@pytest.mark.parametrize(("ours", "theirs"), FILES)
def test_a_message_with_every_field_set_means_the_same_to_tritonclient(ours: ModuleType, theirs: ModuleType) -> None:
    for name in theirs.DESCRIPTOR.message_types_by_name:
        sent = filled(getattr(ours, name)())
        data = sent.SerializeToString(deterministic=True)

        received = getattr(theirs, name).FromString(data)

        assert_nothing_unknown(received)
        assert received.SerializeToString(deterministic=True) == data
        assert getattr(ours, name).FromString(received.SerializeToString()) == sent


def test_kserves_client_and_the_server_share_a_process() -> None:
    """In a process of its own: kserve and tritonclient exclude each other."""
    program = """
from server.wire import grpc_service_pb2 as ours
from kserve.protocol.grpc import grpc_predict_v2_pb2 as theirs
sent = ours.ModelInferRequest(model_name="m", raw_input_contents=[b"x"])
received = theirs.ModelInferRequest.FromString(sent.SerializeToString())
assert (received.model_name, list(received.raw_input_contents)) == ("m", [b"x"])
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=generate.REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_nested_messages_and_enum_values_are_attributes_of_their_class() -> None:
    request = grpc_service_pb2.ModelInferRequest()
    request.inputs.append(grpc_service_pb2.ModelInferRequest.InferInputTensor(name="x", datatype="FP32", shape=[2]))

    assert request.inputs[0].shape == [2]
    assert model_config_pb2.ModelInput.FORMAT_NHWC == model_config_pb2.ModelInput.Format.Value("FORMAT_NHWC") == 1


SAMPLES = {
    FieldDescriptor.CPPTYPE_INT32: 7,
    FieldDescriptor.CPPTYPE_INT64: -(2**40),
    FieldDescriptor.CPPTYPE_UINT32: 2**31 + 1,
    FieldDescriptor.CPPTYPE_UINT64: 2**63 + 1,
    FieldDescriptor.CPPTYPE_DOUBLE: 0.1,
    FieldDescriptor.CPPTYPE_FLOAT: 0.5,
    FieldDescriptor.CPPTYPE_BOOL: True,
}


def filled(message: Message) -> Message:
    """Sets every field, lists and maps with one element; of a oneof the last member stays."""
    for field in message.DESCRIPTOR.fields:
        target = getattr(message, field.name)
        if field.message_type and field.message_type.GetOptions().map_entry:
            key, value = field.message_type.fields
            if value.message_type:
                filled(target[sample(key)])
            else:
                target[sample(key)] = sample(value)
        elif field.message_type:
            part = target.add() if field.is_repeated else target
            part.SetInParent()
            filled(part)
        elif field.is_repeated:
            target.append(sample(field))
        else:
            setattr(message, field.name, sample(field))
    return message


def sample(field: Any) -> object:
    if field.enum_type:
        return field.enum_type.values[-1].number
    if field.type == FieldDescriptor.TYPE_BYTES:
        return b"\xff\x00"
    if field.type == FieldDescriptor.TYPE_STRING:
        return "é"
    return SAMPLES[field.cpp_type]


def assert_nothing_unknown(message: Message) -> None:
    """Dropping the fields that the class does not know must change nothing."""
    data = message.SerializeToString(deterministic=True)
    message.DiscardUnknownFields()
    assert message.SerializeToString(deterministic=True) == data


def uncommented(file: FileDescriptorProto) -> list[str]:
    """Names what has no comment, found by its path of field numbers and indexes in the source."""
    comments = {tuple(at.path) for at in file.source_code_info.location if at.leading_comments.strip()}
    return [name for name, path in elements(file) if path not in comments]


def elements(file: FileDescriptorProto) -> Iterator[tuple[str, tuple[int, ...]]]:
    for at, message in enumerate(file.message_type):
        yield from message_elements(message, message.name, (FileDescriptorProto.MESSAGE_TYPE_FIELD_NUMBER, at))
    for at, enum in enumerate(file.enum_type):
        yield from enum_elements(enum, enum.name, (FileDescriptorProto.ENUM_TYPE_FIELD_NUMBER, at))
    for at, service in enumerate(file.service):
        path = (FileDescriptorProto.SERVICE_FIELD_NUMBER, at)
        yield service.name, path
        for index, method in enumerate(service.method):
            yield f"{service.name}.{method.name}", (*path, service.METHOD_FIELD_NUMBER, index)


def message_elements(
    message: DescriptorProto, name: str, path: tuple[int, ...]
) -> Iterator[tuple[str, tuple[int, ...]]]:
    if message.options.map_entry:
        return
    yield name, path
    for at, field in enumerate(message.field):
        yield f"{name}.{field.name}", (*path, message.FIELD_FIELD_NUMBER, at)
    for at, oneof in enumerate(message.oneof_decl):
        if not oneof.name.startswith("_"):  # protoc makes such a oneof for each `optional` field
            yield f"{name}.{oneof.name}", (*path, message.ONEOF_DECL_FIELD_NUMBER, at)
    for at, enum in enumerate(message.enum_type):
        yield from enum_elements(enum, f"{name}.{enum.name}", (*path, message.ENUM_TYPE_FIELD_NUMBER, at))
    for at, nested in enumerate(message.nested_type):
        yield from message_elements(nested, f"{name}.{nested.name}", (*path, message.NESTED_TYPE_FIELD_NUMBER, at))


def enum_elements(enum: EnumDescriptorProto, name: str, path: tuple[int, ...]) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield name, path
    for at, value in enumerate(enum.value):
        yield f"{name}.{value.name}", (*path, enum.VALUE_FIELD_NUMBER, at)


def test_everything_in_attendant_v1_is_commented() -> None:
    files = generate.descriptor_set("attendant/v1", include_comments=True).file

    assert sum(len(list(elements(file))) for file in files) > 70
    assert {file.name: uncommented(file) for file in files} == {file.name: [] for file in files}


def test_every_message_and_rpc_of_inference_is_commented() -> None:
    for file in generate.descriptor_set("inference", include_comments=True).file:
        types = {message.name for message in file.message_type} | {enum.name for enum in file.enum_type}
        rpcs = {f"{service.name}.{method.name}" for service in file.service for method in service.method}

        assert not (types | rpcs) & set(uncommented(file))


def test_an_element_without_a_comment_is_named() -> None:
    file = generate.descriptor_set("attendant/v1", include_comments=True).file[0]
    file.message_type[0].field.add(name="new", number=100)

    assert uncommented(file) == [f"{file.message_type[0].name}.new"]


def test_generated_modules_are_what_the_protos_say() -> None:
    assert generate.stale_files(generate.REPOSITORY) == []


def test_changed_missing_and_left_over_modules_are_named(tmp_path: Path) -> None:
    generate.generate(tmp_path)
    assert generate.stale_files(tmp_path) == []

    (tmp_path / "client/attendant/v1/common_pb2.py").write_text("")
    (tmp_path / "client/attendant/v1/left_over_pb2.pyi").write_text("")
    (tmp_path / "server/wire/grpc_service_pb2.py").unlink()

    assert generate.stale_files(tmp_path) == [
        "client/attendant/v1/common_pb2.py",
        "client/attendant/v1/left_over_pb2.pyi",
        "server/wire/grpc_service_pb2.py",
    ]


def test_reflection_shows_every_service_and_the_error_details_to_a_client() -> None:
    server = grpc.server(ThreadPoolExecutor(max_workers=1))
    reflection.enable_server_reflection(SERVICES, server, pool=reflection_pool())
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            database = ProtoReflectionDescriptorDatabase(channel)
            seen = DescriptorPool(database)
            assert sorted(database.get_services()) == sorted(SERVICES)
            found = [seen.FindServiceByName(name).full_name for name in SERVICES]
            error_info = seen.FindMessageTypeByName("google.rpc.ErrorInfo")
            infer = seen.FindMessageTypeByName("inference.ModelInferRequest")
    finally:
        server.stop(None).wait()

    assert found == SERVICES
    assert error_info.file.name == error_details_pb2.DESCRIPTOR.name
    assert describe_message(infer) == describe_message(triton_service.ModelInferRequest.DESCRIPTOR)
