import asyncio
import logging
from contextlib import asynccontextmanager

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from server.clock import MonotonicClock
from server.errors import QueueFull
from server.rpc.call import Call
from server.rpc.calls import Calls
from tests.support.calls import refusal
from tests.support.fakes import Ledger
from tests.support.reached import reached

SERVICE = "test.Service"
REPLY = HealthCheckResponse(status=HealthCheckResponse.SERVING)


class Lifecycle:
    draining = False


@asynccontextmanager
async def serving(handler, **options):
    """One unary method `Do` over a real channel: (a function that calls it, the ledger, the calls, the lifecycle)."""
    ledger, lifecycle = Ledger(), Lifecycle()
    calls = Calls(lifecycle, ledger, MonotonicClock())
    server = grpc.aio.server()
    method = calls.unary(SERVICE, "Do", HealthCheckRequest, handler, **options)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Do": method}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel.unary_unary(f"/{SERVICE}/Do"), ledger, calls, lifecycle
    await server.stop(None)


async def answer(_: HealthCheckRequest, call: Call) -> HealthCheckResponse:
    call.served_by("areas", 3)
    return REPLY


async def test_a_handler_gets_a_message_and_returns_one():
    async with serving(answer) as (do, ledger, calls, _):
        assert HealthCheckResponse.FromString(await do(b"")) == REPLY
        await calls.wait_idle()
        assert ledger.calls == [("Do", "areas", 3, "OK")]


async def test_the_reply_carries_the_request_id():
    async with serving(answer) as (do, *_):
        call = do(b"", metadata=(("x-request-id", "mine"),))
        await call
        assert dict(await call.trailing_metadata())["x-request-id"] == "mine"


async def test_calls_without_an_id_get_one_each():
    seen: list[str] = []

    async def look(_: HealthCheckRequest, call: Call) -> HealthCheckResponse:
        seen.append(call.request_id)
        return REPLY

    async with serving(look) as (do, *_):
        for _ in range(3):
            call = do(b"")
            await call
            assert dict(await call.trailing_metadata())["x-request-id"] == seen[-1]
    assert len(set(seen)) == 3


async def test_an_error_of_ours_becomes_its_status():
    async def fail(*_):
        raise QueueFull("no room", {"retry_after_s": "2"})

    async with serving(fail) as (do, ledger, calls, _):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await do(b"")
        found = refusal(caught.value)
        assert (found.code, found.reason, found.message) == (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "QUEUE_FULL",
            "no room",
        )
        await calls.wait_idle()
        assert ledger.calls == [("Do", "", 0, "QUEUE_FULL")]


async def test_an_unexpected_error_tells_nothing_and_the_server_goes_on(caplog):
    async def fail(request, call):
        if request.service:
            raise KeyError("secret")
        return await answer(request, call)

    async with serving(fail) as (do, ledger, calls, _):
        with caplog.at_level(logging.ERROR), pytest.raises(grpc.aio.AioRpcError) as caught:
            await do(HealthCheckRequest(service="x").SerializeToString())
        found = refusal(caught.value)
        assert (found.code, found.reason) == (grpc.StatusCode.INTERNAL, "UNEXPECTED")
        assert "secret" not in found.message
        assert found.metadata["request_id"] in found.message
        assert "secret" in caplog.text
        assert HealthCheckResponse.FromString(await do(b"")) == REPLY
        await calls.wait_idle()
        assert [call[-1] for call in ledger.calls] == ["UNEXPECTED", "OK"]


async def test_the_callers_deadline_reaches_the_handler():
    seen: list[float | None] = []

    async def look(request, call):
        seen.append(call.deadline)
        return REPLY

    async with serving(look) as (do, *_):
        before = MonotonicClock().now()
        await do(b"", timeout=100)
        await do(b"")
    assert before < seen[0] <= before + 102  # the wire carries whole seconds, rounded up
    assert seen[1] is None


async def test_a_caller_that_goes_is_counted_as_such():
    entered = asyncio.Event()

    async def hang(*_):
        entered.set()
        await asyncio.Event().wait()

    async with serving(hang) as (do, ledger, calls, _):
        call = do(b"", timeout=100)
        await entered.wait()
        call.cancel()
        await calls.wait_idle()
        assert ledger.calls == [("Do", "", 0, "CANCELLED")]


async def test_all_who_wait_for_idleness_are_told():
    entered, leave = asyncio.Event(), asyncio.Event()

    async def wait(*_):
        entered.set()
        await leave.wait()
        return REPLY

    async with serving(wait) as (do, _, calls, __):
        running = asyncio.ensure_future(do(b""))
        await entered.wait()
        waiting = [asyncio.ensure_future(calls.wait_idle()) for _ in range(2)]
        await asyncio.sleep(0)
        assert not any(one.done() for one in waiting)
        leave.set()
        await asyncio.gather(running, *waiting)


async def test_a_drain_refuses_new_work_but_not_questions():
    async with serving(answer) as (do, _, __, lifecycle):
        lifecycle.draining = True
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await do(b"")
        assert refusal(caught.value).reason == "DRAINING"
    async with serving(answer, while_draining=True) as (do, _, __, lifecycle):
        lifecycle.draining = True
        assert HealthCheckResponse.FromString(await do(b"")) == REPLY


@pytest.mark.parametrize(("while_draining", "counted"), [(False, 1), (True, 0)])
async def test_only_work_is_in_flight(while_draining, counted):
    entered, leave = asyncio.Event(), asyncio.Event()

    async def wait(request, call):
        entered.set()
        await leave.wait()
        return REPLY

    async with serving(wait, while_draining=while_draining) as (do, _, calls, __):
        running = asyncio.ensure_future(do(b""))
        await entered.wait()
        assert calls.in_flight == counted
        leave.set()
        await running
        await calls.wait_idle()
        assert calls.in_flight == 0


async def test_a_flush_waits_for_the_replies_of_all_calls_so_far_but_no_longer_than_it_is_told():
    held = asyncio.Event()

    async def hold(*_):
        await held.wait()
        return REPLY

    async with serving(hold) as (do, _, calls, _):
        await calls.flush(30)
        reply = do(b"")
        await reached(lambda: calls.in_flight)
        await calls.flush(0.01)
        assert calls.in_flight == 1
        held.set()
        await calls.flush(30)
        assert calls.in_flight == 0
        assert HealthCheckResponse.FromString(await reply) == REPLY


@asynccontextmanager
async def streaming(handler):
    """One method `Do` of many replies over a real channel: (a function that calls it, the calls)."""
    calls = Calls(Lifecycle(), Ledger(), MonotonicClock())
    server = grpc.aio.server()
    method = calls.server_stream(SERVICE, "Do", HealthCheckRequest, handler)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Do": method}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel.unary_stream(f"/{SERVICE}/Do"), calls
    await server.stop(None)


async def test_a_stream_whose_caller_goes_is_closed_before_its_call_has_ended():
    closed = []

    async def count(request, call):
        try:
            while True:
                yield REPLY
                await asyncio.sleep(0)
        finally:
            closed.append(calls.in_flight)

    async with streaming(count) as (do, calls):
        reading = do(b"")
        await reading.read()
        reading.cancel()
        await calls.wait_idle()
        assert closed == [1]


async def test_a_stream_that_fails_tells_why_after_what_it_gave():
    async def fail(request, call):
        yield REPLY
        raise QueueFull("no room")

    async with streaming(fail) as (do, _):
        reading = do(b"")
        assert HealthCheckResponse.FromString(await reading.read()) == REPLY
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await reading.read()
        assert refusal(caught.value).reason == "QUEUE_FULL"
