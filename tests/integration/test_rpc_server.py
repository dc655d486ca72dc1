import asyncio

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from server.clock import MonotonicClock
from server.rpc.server import RpcServer
from server.tensors import Datatype
from tests.support.calls import Caller, floats, infer_request, refused
from tests.support.fakes import GatedModel, echo_model, make_settings, serving_fakes


@pytest.fixture
async def served(tmp_path):
    async with serving_fakes([echo_model(Datatype.FP32)], tmp_path) as server:
        yield server


async def test_a_port_in_use_is_a_clear_error(served):
    taken = make_settings(grpc={"port": int(served.address.rpartition(":")[2])})
    second = RpcServer(served.registry, taken, served.ledger, MonotonicClock())
    with pytest.raises(OSError, match=f"cannot listen on {served.address}"):
        await second.start()
    await second.stop()


async def test_a_stopped_server_gives_its_port_back(tmp_path):
    async with serving_fakes([], tmp_path) as first:
        port = int(first.address.rpartition(":")[2])
    async with serving_fakes([], tmp_path, make_settings(grpc={"port": port})) as second:
        assert second.address == first.address


async def test_reflection_describes_every_service(served):
    def look() -> tuple[list[str], str]:
        with grpc.insecure_channel(served.address) as channel:
            database = ProtoReflectionDescriptorDatabase(channel)
            pool = DescriptorPool(database)
            services = list(database.get_services())
            for service in services:
                for method in pool.FindServiceByName(service).methods:
                    GetMessageClass(method.input_type)
                    GetMessageClass(method.output_type)
            return services, pool.FindMessageTypeByName("google.rpc.ErrorInfo").full_name

    services, error_info = await asyncio.to_thread(look)
    assert set(services) == {
        "inference.GRPCInferenceService",
        "attendant.v1.AttendantService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    assert error_info == "google.rpc.ErrorInfo"


async def test_stop_cancels_what_still_runs(tmp_path):
    gate = GatedModel()
    async with (
        serving_fakes([gate.model()], tmp_path) as served,
        grpc.aio.insecure_channel(served.address) as channel,
    ):
        running = asyncio.ensure_future(refused(Caller(channel).infer(infer_request("gated", x=floats(1)))))
        await asyncio.to_thread(gate.entered.wait, 30)
        await served.rpc.stop()
        assert (await running).code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
        assert served.ledger.calls[-1][-1] == "CANCELLED"
        gate.gate.set()


async def test_calls_over_the_limit_are_refused_by_the_library(tmp_path):
    gate = GatedModel()
    settings = make_settings(grpc={"max_concurrent_rpcs": 1})
    async with (
        serving_fakes([gate.model()], tmp_path, settings) as served,
        grpc.aio.insecure_channel(served.address) as channel,
    ):
        caller = Caller(channel)
        running = asyncio.ensure_future(caller.infer(infer_request("gated", x=floats(1))))
        await asyncio.to_thread(gate.entered.wait, 30)
        refusal = await refused(caller.infer(infer_request("gated", x=floats(1))))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "")
        gate.gate.set()
        await running


async def test_full_queue_refuses_with_a_hint(tmp_path):
    gate = GatedModel()
    settings = make_settings(batching={"max_queue_rows": 1, "max_batch_rows": 1})
    async with (
        serving_fakes([gate.model()], tmp_path, settings) as served,
        grpc.aio.insecure_channel(served.address) as channel,
    ):
        caller = Caller(channel)
        calls = [asyncio.ensure_future(caller.infer(infer_request("gated", x=floats(n)))) for n in range(3)]
        while served.rpc.in_flight < 3:
            await asyncio.sleep(0)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await caller.infer(infer_request("gated", x=floats(9)))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert int(dict(caught.value.trailing_metadata())["grpc-retry-pushback-ms"]) > 0
        gate.gate.set()
        answers = [(await call).raw_output_contents[0] for call in calls]
        assert answers == [floats(n).tobytes() for n in range(3)]
