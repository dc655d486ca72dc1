"""What calls over a real channel leave in the metrics of a real server."""

import grpc
import numpy as np
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest

from server.wire import grpc_service_pb2 as wire
from tests.support.calls import INFERENCE, Caller, infer_request
from tests.support.graphs import doubling_graph, write_version
from tests.support.serving import Serving, serving


@pytest.fixture
async def served(tmp_path):
    write_version(tmp_path, "doubling", 1, doubling_graph())
    async with serving(tmp_path, batching={"max_queue_rows": 77}) as running:
        yield running


@pytest.fixture
async def caller(served):
    async with grpc.aio.insecure_channel(served.address) as channel:
        yield Caller(channel)


def samples(served: Serving, name: str) -> dict[tuple[str, ...], float]:
    """The values of a metric by the values of its labels, in the order of their names."""
    return {
        tuple(value for _, value in sorted(sample.labels.items())): sample.value
        for family in served.application.metrics.registry.collect()
        for sample in family.samples
        if sample.name == name
    }


async def test_requests_of_a_stream_are_counted_one_by_one(caller, served):
    stream = caller.channel.stream_stream(f"/{INFERENCE}/ModelStreamInfer")()
    for model in ("doubling", "doubling", "nobody"):
        await stream.write(infer_request(model, x=np.ones((1, 2), np.float32)).SerializeToString())
        await stream.read()
    stream.cancel()
    assert samples(served, "attendant_requests_total") == {
        ("ModelStreamInfer", "doubling", "OK", "1"): 2,
        ("ModelStreamInfer", "unknown", "MODEL_NOT_FOUND", "unknown"): 1,
    }
    assert samples(served, "nv_inference_request_success") == {("doubling", "1"): 2}


async def test_probes_leave_no_series_and_questions_no_model(caller, served):
    await caller.send("grpc.health.v1.Health", "Check", HealthCheckRequest().SerializeToString())
    await caller.ask("ServerReady", wire.ServerReadyRequest())
    assert samples(served, "attendant_requests_total") == {("ServerReady", "", "OK", ""): 1}


async def test_the_effective_settings_are_exported(served):
    told = samples(served, "attendant_settings_info")
    assert told["batching.max_queue_rows", "77"] == 1
    assert told["security.system_shared_memory", "false"] == 1
