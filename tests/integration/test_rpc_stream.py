"""ModelStreamInfer over a real channel: order, errors, bounds, cancellation, drain."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import numpy as np
import pytest

from server.tensors import Datatype
from server.wire import grpc_service_pb2 as wire
from tests.support.calls import INFERENCE, Caller, floats, infer_request, refusal
from tests.support.fakes import GatedModel, Served, echo_model, make_settings, serving_fakes
from tests.support.reached import reached

Code = grpc.StatusCode


class Stream:
    """One stream of a client, requests and responses as messages."""

    def __init__(self, channel: grpc.aio.Channel, **options: object) -> None:
        method = channel.stream_stream(f"/{INFERENCE}/ModelStreamInfer")
        self.call = method(**options)

    async def send(self, *requests: wire.ModelInferRequest | bytes) -> None:
        for request in requests:
            await self.call.write(request if isinstance(request, bytes) else request.SerializeToString())

    async def receive(self) -> wire.ModelStreamInferResponse:
        content = await self.call.read()
        assert content is not grpc.aio.EOF
        return wire.ModelStreamInferResponse.FromString(content)

    async def ends(self) -> bool:
        return await self.call.read() is grpc.aio.EOF

    async def refused(self):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.call.read()
        return refusal(caught.value)


@pytest.fixture
def gate():
    return GatedModel()


@asynccontextmanager
async def streaming(tmp_path, gate, **groups: object) -> AsyncIterator[tuple[Served, grpc.aio.Channel]]:
    models = [echo_model(Datatype.FP32), gate.model()]
    async with (
        serving_fakes(models, tmp_path, make_settings(**groups)) as served,
        grpc.aio.insecure_channel(served.address) as channel,
    ):
        try:
            yield served, channel
        finally:
            gate.gate.set()


@pytest.fixture
async def served(tmp_path, gate):
    async with streaming(tmp_path, gate) as (server, channel):
        yield server, channel


def echo(number: float, id: str = "") -> wire.ModelInferRequest:
    return infer_request("echo_fp32", x=floats(number), id=id)


def gated(number: float, id: str = "") -> wire.ModelInferRequest:
    return infer_request("gated", x=floats(number), id=id)


def number_of(response: wire.ModelStreamInferResponse) -> float:
    assert response.error_message == ""
    return float(np.frombuffer(response.infer_response.raw_output_contents[0], np.float32)[0])


async def test_each_request_has_one_response_that_is_final(served):
    _, channel = served
    stream = Stream(channel)
    await stream.send(echo(1, id="a"), echo(2))
    await stream.call.done_writing()
    first, second = await stream.receive(), await stream.receive()
    assert [number_of(first), number_of(second)] == [1, 2]
    assert [response.infer_response.id for response in (first, second)] == ["a", ""]
    assert (first.infer_response.model_name, first.infer_response.model_version) == ("echo_fp32", "1")
    assert first.infer_response.parameters["triton_final_response"].bool_param
    assert await stream.ends()


async def test_responses_keep_the_order_of_the_requests(served, gate):
    server, channel = served
    stream = Stream(channel)
    await stream.send(gated(1), echo(2))
    await reached(lambda: ("ModelStreamInfer", "echo_fp32", 1, "OK") in server.ledger.calls)
    gate.gate.set()
    assert [number_of(await stream.receive()) for _ in range(2)] == [1, 2]


async def test_requests_of_one_stream_share_batches(served, gate):
    server, channel = served
    stream = Stream(channel)
    await stream.send(*(gated(n) for n in range(8)))
    await reached(lambda: server.rpc.in_flight == 8)
    gate.gate.set()
    assert [number_of(await stream.receive()) for _ in range(8)] == list(range(8))
    assert max(batch.rows for batch in server.ledger.batches) > 1


async def test_a_failed_request_leaves_the_stream_and_its_neighbours_alone(served):
    server, channel = served
    stream = Stream(channel)
    await stream.send(echo(1), infer_request("nobody", x=floats(2), id="bad", version="3"), b"\xff\xff", echo(4))
    first, unknown, malformed, last = [await stream.receive() for _ in range(4)]
    assert [number_of(first), number_of(last)] == [1, 4]
    assert "nobody" in unknown.error_message
    assert unknown.infer_response.parameters["reason"].string_param == "MODEL_NOT_FOUND"
    assert unknown.infer_response.parameters["triton_final_response"].bool_param
    told = unknown.infer_response
    assert (told.id, told.model_name, told.model_version) == ("bad", "nobody", "3")
    assert malformed.infer_response.parameters["reason"].string_param == "MESSAGE_MALFORMED"
    assert [call[-1] for call in server.ledger.calls].count("OK") == 2


async def test_each_request_is_counted_with_its_reason(served):
    server, channel = served
    stream = Stream(channel)
    await stream.send(echo(1), infer_request("echo_fp32", y=floats(2)))
    await stream.call.done_writing()
    assert number_of(await stream.receive()) == 1
    assert (await stream.receive()).error_message
    assert await stream.ends()
    assert sorted(server.ledger.calls) == [
        ("ModelStreamInfer", "echo_fp32", 1, "OK"),
        ("ModelStreamInfer", "echo_fp32", 1, "SIGNATURE_MISMATCH"),
    ]


async def test_a_stream_without_requests_ends_well(served):
    server, channel = served
    stream = Stream(channel)
    await stream.call.done_writing()
    assert await stream.ends()
    assert await stream.call.code() is Code.OK
    assert server.ledger.calls == []


async def test_a_strict_stream_ends_with_the_status_of_the_first_failure(served):
    _, channel = served
    stream = Stream(channel, metadata=(("triton_grpc_error", "true"),))
    await stream.send(echo(1), infer_request("nobody", x=floats(2), id="bad"), echo(3))
    assert number_of(await stream.receive()) == 1
    found = await stream.refused()
    assert (found.code, found.reason, found.metadata["request_id"]) == (Code.NOT_FOUND, "MODEL_NOT_FOUND", "bad")


async def test_requests_without_an_id_carry_that_of_the_stream(served):
    _, channel = served
    stream = Stream(channel, metadata=(("x-request-id", "mine"),))
    await stream.send(infer_request("nobody", x=floats(1)))
    await stream.call.done_writing()
    assert (await stream.receive()).infer_response.id == ""
    assert await stream.ends()
    assert dict(await stream.call.trailing_metadata())["x-request-id"] == "mine"


async def test_no_more_is_read_while_the_bound_is_reached(tmp_path, gate):
    async with streaming(tmp_path, gate, grpc={"max_stream_requests": 2}) as (server, channel):
        stream = Stream(channel)
        await stream.send(*(gated(n) for n in range(6)))
        await reached(lambda: server.rpc.in_flight == 2)
        for _ in range(20):  # the answers show that the server has gone on meanwhile
            await Caller(channel).ask("ServerLive", wire.ServerLiveRequest())
            assert server.rpc.in_flight == 2
        gate.gate.set()
        assert [number_of(await stream.receive()) for _ in range(6)] == list(range(6))


async def test_a_full_queue_is_told_to_the_request_it_hits(tmp_path, gate):
    async with streaming(tmp_path, gate, batching={"max_queue_rows": 1, "max_batch_rows": 1}) as (server, channel):
        stream = Stream(channel)
        await stream.send(*(gated(n) for n in range(4)))
        await reached(lambda: len(server.ledger.calls) == 1)
        gate.gate.set()
        responses = [await stream.receive() for _ in range(4)]
        assert [response.infer_response.parameters["reason"].string_param for response in responses] == [
            "",
            "",
            "",
            "QUEUE_FULL",
        ]


async def test_a_cancelled_stream_withdraws_what_is_queued(tmp_path, gate):
    async with streaming(tmp_path, gate, batching={"max_batch_rows": 1}) as (server, channel):
        stream = Stream(channel)
        await stream.send(*(gated(n) for n in range(6)))
        await reached(lambda: server.rpc.in_flight == 6)
        stream.call.cancel()
        await reached(lambda: len(server.ledger.calls) == 6)
        assert {call[-1] for call in server.ledger.calls} == {"CANCELLED"}
        assert server.ledger.dropped.count("CANCELLED") == 6
        assert server.registry.resolve("gated").lane.queue.rows == 0
        assert server.rpc.in_flight == 0


async def test_the_deadline_of_a_stream_ends_its_requests(served):
    server, channel = served
    stream = Stream(channel, timeout=0.3)
    await stream.send(gated(1))
    try:  # the server may notice before the client's library does, and answer the request
        assert (await stream.receive()).infer_response.parameters["reason"].string_param == "DEADLINE_EXPIRED"
    except grpc.aio.AioRpcError:
        assert await stream.call.code() is Code.DEADLINE_EXCEEDED
    else:
        assert (await stream.refused()).code is Code.DEADLINE_EXCEEDED
    await reached(lambda: server.ledger.calls)
    assert server.ledger.calls == [("ModelStreamInfer", "gated", 1, "DEADLINE_EXPIRED")]


async def test_a_drain_answers_what_was_read_and_then_ends_the_stream(served, gate):
    server, channel = served
    stream, idle = Stream(channel), Stream(channel)
    await idle.send(echo(0))
    assert number_of(await idle.receive()) == 0
    await stream.send(gated(1), gated(2))
    await reached(lambda: server.rpc.in_flight == 2)
    server.registry.drain()
    draining = asyncio.ensure_future(server.rpc.drain())
    assert (await idle.refused()).reason == "DRAINING"
    assert not draining.done()
    gate.gate.set()
    assert [number_of(await stream.receive()) for _ in range(2)] == [1, 2]
    found = await stream.refused()
    assert (found.code, found.reason) == (Code.UNAVAILABLE, "DRAINING")
    await draining


async def test_a_stream_that_was_complete_ends_well_in_a_drain(served, gate):
    server, channel = served
    stream = Stream(channel)
    await stream.send(gated(1))
    await stream.call.done_writing()
    await reached(lambda: server.rpc.in_flight == 1)
    await asyncio.to_thread(gate.entered.wait, 30)
    await reached(lambda: all(one._complete for one in server.rpc._calls._streams))  # its end travels by itself
    server.registry.drain()
    draining = asyncio.ensure_future(server.rpc.drain())
    gate.gate.set()
    assert number_of(await stream.receive()) == 1
    assert await stream.ends()
    await draining


async def test_a_stream_opened_in_a_drain_is_refused(served):
    server, channel = served
    server.registry.drain()
    stream = Stream(channel)
    await stream.send(echo(1))
    assert (await stream.refused()).reason == "DRAINING"
    assert server.ledger.calls == [("ModelStreamInfer", "", 0, "DRAINING")]


async def test_a_stop_ends_a_stream_that_waits_for_its_caller(served):
    server, channel = served
    stream = Stream(channel)
    await stream.send(echo(1))
    assert number_of(await stream.receive()) == 1
    await server.rpc.stop()
    assert (await stream.refused()).code is Code.UNAVAILABLE
