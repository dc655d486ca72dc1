"""System shared memory over a real channel, by the messages of the protocol."""

import os
from collections.abc import Iterator
from contextlib import asynccontextmanager
from multiprocessing.shared_memory import SharedMemory

import grpc
import numpy as np
import pytest

from server.rpc.open_inference.tensors import write_raw
from server.tensors import Datatype
from server.wire import grpc_service_pb2 as wire
from tests.support.calls import Caller, floats, infer_request, refused
from tests.support.fakes import echo_model, make_settings, serving_fakes, text_model

Code = grpc.StatusCode
NUMBERS = np.array([[1, 2, 3, 4]], np.float32)


@pytest.fixture
def memory() -> Iterator[SharedMemory]:
    made = SharedMemory(create=True, size=4096)
    made.buf[:16] = NUMBERS.tobytes()
    yield made
    made.close()
    made.unlink()


@asynccontextmanager
async def calling(tmp_path, **security: object):
    models = [echo_model(Datatype.FP32), echo_model(Datatype.BYTES), text_model()]
    async with (
        serving_fakes(models, tmp_path, make_settings(security=security)) as served,
        grpc.aio.insecure_channel(served.address) as channel,
    ):
        yield Caller(channel), served


@pytest.fixture
async def caller(tmp_path):
    async with calling(tmp_path, system_shared_memory=True) as (made, _):
        yield made


def register(memory: SharedMemory, name: str = "r", offset: int = 0, byte_size: int = 4096):
    return wire.SystemSharedMemoryRegisterRequest(name=name, key=memory.name, offset=offset, byte_size=byte_size)


def in_region(item, byte_size: int, offset: int = 0, region: str = "r"):
    item.parameters["shared_memory_region"].string_param = region
    item.parameters["shared_memory_byte_size"].int64_param = byte_size
    if offset:
        item.parameters["shared_memory_offset"].int64_param = offset
    return item


def from_region(byte_size: int = 16, offset: int = 0) -> wire.ModelInferRequest:
    """A request whose input, four floats, lies in region `r`."""
    request = wire.ModelInferRequest(model_name="echo_fp32")
    in_region(request.inputs.add(name="x", datatype="FP32", shape=[1, 4]), byte_size, offset)
    return request


def to_region(request: wire.ModelInferRequest, byte_size: int, offset: int = 0) -> wire.ModelInferRequest:
    """The same request, its output going to region `r`."""
    in_region(request.outputs.add(name="y"), byte_size, offset)
    return request


async def test_regions_are_registered_listed_and_forgotten(caller, memory):
    await caller.ask("SystemSharedMemoryRegister", register(memory, offset=64, byte_size=128))
    regions = (await caller.ask("SystemSharedMemoryStatus", wire.SystemSharedMemoryStatusRequest())).regions
    assert {name: (r.name, r.key, r.offset, r.byte_size) for name, r in regions.items()} == {
        "r": ("r", memory.name, 64, 128)
    }
    await caller.ask("SystemSharedMemoryUnregister", wire.SystemSharedMemoryUnregisterRequest(name="r"))
    assert not (await caller.ask("SystemSharedMemoryStatus", wire.SystemSharedMemoryStatusRequest())).regions


async def test_an_input_comes_from_shared_memory(caller, memory):
    await caller.ask("SystemSharedMemoryRegister", register(memory))
    memory.buf[100:116] = (NUMBERS * 10).tobytes()
    response = await caller.infer(from_region(offset=100))
    assert np.frombuffer(response.raw_output_contents[0], np.float32).tolist() == [10, 20, 30, 40]


async def test_an_output_goes_to_shared_memory(caller, memory):
    await caller.ask("SystemSharedMemoryRegister", register(memory))
    response = await caller.infer(to_region(from_region(), byte_size=64, offset=2048))
    assert np.frombuffer(memory.buf[2048:2064], np.float32).tolist() == [1, 2, 3, 4]
    assert list(response.raw_output_contents) == [b""]
    told = response.outputs[0].parameters
    assert told["shared_memory_region"].string_param == "r"
    assert (told["shared_memory_byte_size"].int64_param, told["shared_memory_offset"].int64_param) == (16, 2048)


async def test_texts_go_in_and_out_by_shared_memory(caller, memory):
    await caller.ask("SystemSharedMemoryRegister", register(memory))
    words = np.array([[b"a", "gr\u00f6\u00dfer".encode()]], dtype=np.object_)
    content = write_raw(Datatype.BYTES, words)
    memory.buf[: len(content)] = content
    request = wire.ModelInferRequest(model_name="echo_bytes")
    in_region(request.inputs.add(name="x", datatype="BYTES", shape=[1, 2]), len(content))
    response = await caller.infer(to_region(request, byte_size=100, offset=1000))
    byte_size = response.outputs[0].parameters["shared_memory_byte_size"].int64_param
    assert bytes(memory.buf[1000 : 1000 + byte_size]) == content


async def test_one_input_in_the_message_and_one_in_shared_memory(caller, memory):
    await caller.ask("SystemSharedMemoryRegister", register(memory))
    memory.buf[:2] = b"\x01\x00"
    request = wire.ModelInferRequest(model_name="areas")
    in_region(request.inputs.add(name="mask", datatype="BOOL", shape=[1, 2]), 2)
    request.inputs.add(name="input_ids", datatype="INT64", shape=[1, 2])
    request.raw_input_contents.append(np.array([1, 2]).tobytes())
    request.outputs.add(name="logits")
    response = await caller.infer(request)
    assert np.frombuffer(response.raw_output_contents[0], np.float32).tolist() == [0, 1, 0]


async def test_a_region_that_was_truncated_fails_its_request_and_nothing_else(caller, memory):
    await caller.ask("SystemSharedMemoryRegister", register(memory))
    os.truncate(f"/dev/shm/{memory.name}", 8)
    refusal = await refused(caller.infer(from_region()))
    assert (refusal.code, refusal.reason) == (Code.INVALID_ARGUMENT, "TENSOR_MALFORMED")
    refusal = await refused(caller.infer(to_region(infer_request("echo_fp32", x=NUMBERS), byte_size=16)))
    assert (refusal.code, refusal.reason) == (Code.INVALID_ARGUMENT, "TENSOR_MALFORMED")
    assert (await caller.infer(infer_request("echo_fp32", x=floats(1)))).raw_output_contents


async def test_a_region_outlives_the_name_of_its_object(caller):
    memory = SharedMemory(create=True, size=64)
    memory.buf[:16] = NUMBERS.tobytes()
    await caller.ask("SystemSharedMemoryRegister", register(memory, byte_size=64))
    memory.unlink()
    assert (await caller.infer(from_region())).raw_output_contents[0] == NUMBERS.tobytes()
    memory.close()


@pytest.mark.parametrize(
    ("request_made", "code", "reason"),
    [
        (from_region(byte_size=12), Code.INVALID_ARGUMENT, "TENSOR_MALFORMED"),
        (from_region(byte_size=5000), Code.INVALID_ARGUMENT, "PARAMETER_INVALID"),
        (from_region(offset=4090), Code.INVALID_ARGUMENT, "PARAMETER_INVALID"),
        (to_region(from_region(), byte_size=15), Code.INVALID_ARGUMENT, "PARAMETER_INVALID"),
        (to_region(from_region(), byte_size=16, offset=4090), Code.INVALID_ARGUMENT, "PARAMETER_INVALID"),
    ],
)
async def test_parts_that_do_not_fit_are_refused(caller, memory, request_made, code, reason):
    await caller.ask("SystemSharedMemoryRegister", register(memory))
    refusal = await refused(caller.infer(request_made))
    assert (refusal.code, refusal.reason) == (code, reason)
    assert bytes(memory.buf[2048:]) == bytes(2048)


async def test_an_unknown_region_is_not_found_before_anything_runs(tmp_path, memory):
    async with calling(tmp_path, system_shared_memory=True) as (caller, served):
        for request in (from_region(), to_region(infer_request("echo_fp32", x=NUMBERS), byte_size=16)):
            refusal = await refused(caller.infer(request))
            assert (refusal.code, refusal.reason) == (Code.NOT_FOUND, "REGION_NOT_FOUND")
        assert served.ledger.batches == []


async def test_contents_beside_a_region_are_refused(caller, memory):
    await caller.ask("SystemSharedMemoryRegister", register(memory))
    request = from_region()
    request.inputs[0].contents.fp32_contents.extend([1, 2, 3, 4])
    assert (await refused(caller.infer(request))).reason == "TENSOR_MALFORMED"
    request = from_region()
    request.raw_input_contents.append(NUMBERS.tobytes())
    assert (await refused(caller.infer(request))).reason == "TENSOR_MALFORMED"


async def test_one_region_under_many_names_is_refused_before_it_is_copied(caller, memory):
    await caller.ask("SystemSharedMemoryRegister", register(memory))
    request = from_region()
    for number in range(3):
        in_region(request.inputs.add(name=f"x{number}", datatype="FP32", shape=[1, 4]), 16)
    refusal = await refused(caller.infer(request))
    assert (refusal.reason, "4 inputs in shared memory" in refusal.message) == ("SIGNATURE_MISMATCH", True)


@pytest.mark.parametrize(
    ("fields", "code", "reason"),
    [
        ({"key": "/../etc/passwd"}, Code.INVALID_ARGUMENT, "PARAMETER_INVALID"),
        ({"key": "/etc/passwd"}, Code.INVALID_ARGUMENT, "PARAMETER_INVALID"),
        ({"key": "/attendant-nobody"}, Code.NOT_FOUND, "REGION_NOT_FOUND"),
        ({"byte_size": 2**64 - 1}, Code.RESOURCE_EXHAUSTED, "TOO_MANY_REGIONS"),
        ({"offset": 4096, "byte_size": 1}, Code.INVALID_ARGUMENT, "PARAMETER_INVALID"),
        ({"name": ""}, Code.INVALID_ARGUMENT, "PARAMETER_INVALID"),
    ],
)
async def test_a_region_that_cannot_be_is_refused(caller, memory, fields, code, reason):
    request = register(memory)
    for name, value in fields.items():
        setattr(request, name, value)
    refusal = await refused(caller.ask("SystemSharedMemoryRegister", request))
    assert (refusal.code, refusal.reason) == (code, reason)


async def test_a_name_twice_is_refused(caller, memory):
    await caller.ask("SystemSharedMemoryRegister", register(memory))
    refusal = await refused(caller.ask("SystemSharedMemoryRegister", register(memory)))
    assert (refusal.code, refusal.reason) == (Code.ALREADY_EXISTS, "REGION_EXISTS")


async def test_everything_is_switched_off_by_default(tmp_path, memory):
    async with calling(tmp_path) as (caller, _):
        for call in (
            caller.ask("SystemSharedMemoryRegister", register(memory)),
            caller.ask("SystemSharedMemoryStatus", wire.SystemSharedMemoryStatusRequest()),
            caller.ask("SystemSharedMemoryUnregister", wire.SystemSharedMemoryUnregisterRequest()),
            caller.infer(from_region()),
            caller.infer(to_region(infer_request("echo_fp32", x=NUMBERS), byte_size=16)),
        ):
            refusal = await refused(call)
            assert (refusal.code, refusal.reason) == (Code.UNIMPLEMENTED, "NOT_IMPLEMENTED")
            assert "security.system_shared_memory" in refusal.message


async def test_the_extension_is_named_where_it_is_on(caller):
    metadata = await caller.ask("ServerMetadata", wire.ServerMetadataRequest())
    assert "system_shared_memory" in metadata.extensions
