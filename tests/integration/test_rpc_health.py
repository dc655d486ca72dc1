import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from tests.support.calls import refusal
from tests.support.fakes import make_settings, serving_fakes, text_model
from tests.support.reached import reached

SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING
UNKNOWN = HealthCheckResponse.SERVICE_UNKNOWN
SERVICES = ("", "inference.GRPCInferenceService", "attendant.v1.AttendantService")


@pytest.fixture
async def served(tmp_path):
    settings = make_settings(store={"control": "explicit", "models": ("areas",)})
    models = [text_model(), text_model(version=2, aliases=("canary",)), text_model("spare")]
    async with serving_fakes(models, tmp_path, settings) as server:
        yield server


@pytest.fixture
async def stub(served):
    async with grpc.aio.insecure_channel(served.address) as channel:
        yield HealthStub(channel)


async def check(stub: HealthStub, service: str) -> int:
    return (await stub.Check(HealthCheckRequest(service=service))).status


@pytest.mark.parametrize("service", [*SERVICES, "areas", "areas/1", "areas/2", "areas/canary"])
async def test_what_can_serve_is_serving(stub, service):
    assert await check(stub, service) == SERVING


async def test_a_model_of_the_store_that_is_not_loaded_is_not_serving(stub):
    assert await check(stub, "spare") == NOT_SERVING


@pytest.mark.parametrize(
    "service", ["nobody", "areas/9", "areas/beta", "areas/1/1", "../areas", "grpc.health.v1.Other"]
)
async def test_a_name_that_nobody_has_is_not_found(stub, service):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await check(stub, service)
    found = refusal(caught.value)
    assert found.code is grpc.StatusCode.NOT_FOUND
    assert found.reason in ("MODEL_NOT_FOUND", "VERSION_NOT_FOUND")


async def test_nothing_serves_once_the_drain_has_begun(stub, served):
    served.registry.drain()
    for service in (*SERVICES, "areas", "areas/canary"):
        assert await check(stub, service) == NOT_SERVING


async def test_a_watch_follows_a_model_through_load_and_unload(stub, served):
    watch = stub.Watch(HealthCheckRequest(service="spare"))
    assert (await watch.read()).status == NOT_SERVING
    await served.registry.load("spare")
    assert (await watch.read()).status == SERVING
    await served.registry.unload("spare")
    assert (await watch.read()).status == NOT_SERVING
    watch.cancel()


async def test_a_watch_of_an_unknown_name_says_so_and_stays(stub):
    watch = stub.Watch(HealthCheckRequest(service="nobody"))
    assert (await watch.read()).status == UNKNOWN
    watch.cancel()


async def test_a_watcher_that_leaves_takes_no_other_with_it(stub, served):
    leaving, staying = (stub.Watch(HealthCheckRequest(service="spare")) for _ in range(2))
    assert (await leaving.read()).status == (await staying.read()).status == NOT_SERVING
    leaving.cancel()
    await reached(leaving.done)
    await served.registry.load("spare")
    assert (await staying.read()).status == SERVING
    staying.cancel()


async def test_watchers_hear_of_the_drain_before_the_server_stops_and_do_not_hold_it(stub, served):
    watches = [stub.Watch(HealthCheckRequest(service=service)) for service in (*SERVICES, "areas")]
    assert {(await watch.read()).status for watch in watches} == {SERVING}
    served.registry.drain()
    await served.rpc.drain()
    assert {(await watch.read()).status for watch in watches} == {NOT_SERVING}
    await served.rpc.stop()
    for watch in watches:
        assert await watch.read() is grpc.aio.EOF
        assert await watch.code() is grpc.StatusCode.OK


async def test_watches_are_not_in_flight(stub, served):
    watch = stub.Watch(HealthCheckRequest(service=""))
    await watch.read()
    assert served.rpc.in_flight == 0
    watch.cancel()


async def test_a_malformed_watch_is_refused(served):
    async with grpc.aio.insecure_channel(served.address) as channel:
        watch = channel.unary_stream("/grpc.health.v1.Health/Watch")(b"\xff")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await watch.read()
    assert refusal(caught.value).reason == "MESSAGE_MALFORMED"
