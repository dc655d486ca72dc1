"""A busy server stops: what callers see who go on calling it, without a balancer and without retries."""

import signal
import threading
from collections import Counter
from pathlib import Path

import grpc
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from server.rpc.status import DETAILS_KEY
from server.wire import grpc_service_pb2 as wire
from tests.support.calls import INFERENCE, infer_request, refusal
from tests.support.graphs import counting_graph, doubling_graph, write_version
from tests.support.server_process import PATIENCE_S, Process, in_flight, process

CALLERS, CHANNELS = 12, 3
ANSWERS = 300
"""So many calls are answered before the server is told to stop."""
WIDTH = 2_000_000


class Callers:
    """Threads that call on and on, each until a call ends with neither an answer nor DRAINING."""

    def __init__(self, address: str) -> None:
        self.outcomes: Counter[str] = Counter()
        self.busy = threading.Event()
        self._request = infer_request("m", x=np.ones((1, 4), np.float32)).SerializeToString()
        own = [("grpc.use_local_subchannel_pool", 1)]  # a connection for each channel
        self._channels = [grpc.insecure_channel(address, options=own) for _ in range(CHANNELS)]
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._call_on, args=(number,)) for number in range(CALLERS)]
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join(PATIENCE_S)
        for channel in self._channels:
            channel.close()

    def _call_on(self, number: int) -> None:
        infer = self._channels[number % CHANNELS].unary_unary(f"/{INFERENCE}/ModelInfer")
        outcome = "OK"
        while outcome in ("OK", "DRAINING"):
            outcome = outcome_of(infer, self._request)
            with self._lock:
                self.outcomes[outcome] += 1
                if self.outcomes["OK"] >= ANSWERS:
                    self.busy.set()


def outcome_of(infer: grpc.UnaryUnaryMultiCallable, request: bytes) -> str:
    """`OK`, else the reason that the server gave, else the code."""
    try:
        infer(request, timeout=PATIENCE_S)
    except grpc.RpcError as error:
        details = dict(error.trailing_metadata() or ())
        return refusal(error).reason if DETAILS_KEY in details else error.code().name
    return "OK"


def wide_graph() -> onnx.GraphProto:
    """Counts as `counting` does, and answers with the count so many times that sending it takes a while."""
    graph = counting_graph()
    graph.initializer.append(helper.make_tensor("shape", TensorProto.INT64, [2], [1, WIDTH]))
    graph.node.append(helper.make_node("Expand", ["counts", "shape"], ["wide"]))
    graph.output.append(helper.make_tensor_value_info("wide", TensorProto.INT64, ["rows", WIDTH]))
    return graph


class Held(threading.Thread):
    """One call that counts, in a thread of its own."""

    def __init__(self, server: Process, model: str, steps: int) -> None:
        super().__init__()
        self._address, self._request = server.address, infer_request(model, steps=np.array([[steps]]))
        self.reply: wire.ModelInferResponse | None = None
        self.error: grpc.RpcError | None = None
        self.start()

    def run(self) -> None:
        with grpc.insecure_channel(self._address, options=[("grpc.max_receive_message_length", -1)]) as channel:
            infer = channel.unary_unary(f"/{INFERENCE}/ModelInfer")
            try:
                reply = infer(self._request.SerializeToString(), timeout=PATIENCE_S)
                self.reply = wire.ModelInferResponse.FromString(reply)
            except grpc.RpcError as error:
                self.error = error


@pytest.mark.parametrize("attempt", range(3))
def test_callers_that_go_on_calling_see_answers_then_draining_or_unavailable_and_nothing_else(tmp_path, store, attempt):
    write_version(store, "m", 1, doubling_graph())
    with process(tmp_path) as server:
        callers = Callers(server.address)
        assert callers.busy.wait(PATIENCE_S)
        server.popen.send_signal(signal.SIGTERM)
        assert server.popen.wait(PATIENCE_S) == 0
        callers.join()
    assert callers.outcomes["OK"] >= ANSWERS
    assert callers.outcomes["UNAVAILABLE"] == CALLERS
    assert callers.outcomes.keys() <= {"OK", "DRAINING", "UNAVAILABLE"}


def test_a_reply_that_takes_a_while_to_send_arrives_whole_from_a_server_that_stops(tmp_path, store):
    write_version(store, "wide", 1, wide_graph())
    with process(tmp_path) as server:
        call = Held(server, "wide", 2_000_000)
        in_flight(server, 1)
        server.popen.send_signal(signal.SIGTERM)
        assert server.said("draining")["in_flight"] == 1
        call.join(PATIENCE_S)
        assert server.popen.wait(PATIENCE_S) == 0
    assert call.error is None
    assert [output.shape[1] for output in call.reply.outputs] == [1, WIDTH]
    assert sum(map(len, call.reply.raw_output_contents)) == (1 + WIDTH) * 8


def test_a_caller_whose_time_to_finish_is_over_is_told_to_try_elsewhere(tmp_path, store):
    write_version(store, "counting", 1, counting_graph())
    with process(tmp_path, "--grpc.drain-grace-s", "0.1") as server:
        call = Held(server, "counting", 200_000_000)
        in_flight(server, 1)
        server.popen.send_signal(signal.SIGTERM)
        server.said("stopping with requests in flight")
        call.join(PATIENCE_S)
        assert server.popen.wait(PATIENCE_S) == 0
    assert call.error.code() is grpc.StatusCode.UNAVAILABLE


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    folder.mkdir()
    return folder
