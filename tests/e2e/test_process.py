"""The server as a process: what an operator sees of it."""

import signal
import socket
import threading
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton

from tests.support.graphs import counting_graph, doubling_graph, write_version
from tests.support.server_process import PATIENCE_S, in_flight, process, run


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    folder.mkdir()
    return folder


class Counting(threading.Thread):
    """A call that runs for as long as it was told to, in a thread of its own."""

    def __init__(self, address: str, steps: int) -> None:
        super().__init__()
        self.address, self.steps = address, steps
        self.result: int | Exception | None = None

    def run(self) -> None:
        held = triton.InferInput("steps", [1, 1], "INT64")
        held.set_data_from_numpy(np.array([[self.steps]], np.int64))
        try:
            with triton.InferenceServerClient(self.address) as client:
                self.result = int(client.infer("counting", [held]).as_numpy("counts")[0, 0])
        except Exception as error:
            self.result = error


def test_sigterm_drains_what_is_in_flight_and_exits_with_0(tmp_path, store):
    write_version(store, "counting", 1, counting_graph())
    with process(tmp_path) as server:
        call = Counting(server.address, 2_000_000)
        call.start()
        in_flight(server, 1)
        server.popen.send_signal(signal.SIGTERM)
        assert server.said("draining")["in_flight"] == 1
        call.join(PATIENCE_S)
        assert server.popen.wait(PATIENCE_S) == 0
        assert call.result == 2_000_000
        server.said("stopped")


def test_a_second_signal_stops_at_once(tmp_path, store):
    write_version(store, "counting", 1, counting_graph())
    with process(tmp_path) as server:
        call = Counting(server.address, 200_000_000)
        call.start()
        in_flight(server, 1)
        server.popen.send_signal(signal.SIGTERM)
        server.said("draining")
        server.popen.send_signal(signal.SIGINT)
        entry = server.said("stopping with requests in flight")
        assert entry["cause"] == "a second signal"
        call.join(PATIENCE_S)
        assert isinstance(call.result, Exception)
        assert server.popen.wait(PATIENCE_S) == 0


def test_the_grace_period_is_bounded(tmp_path, store):
    write_version(store, "counting", 1, counting_graph())
    with process(tmp_path, "--grpc.drain-grace-s", "0.1") as server:
        call = Counting(server.address, 200_000_000)
        call.start()
        in_flight(server, 1)
        server.popen.send_signal(signal.SIGTERM)
        entry = server.said("stopping with requests in flight")
        assert entry["cause"] == "the grace period is over"
        call.join(PATIENCE_S)
        assert isinstance(call.result, Exception)
        assert server.popen.wait(PATIENCE_S) == 0


def test_a_port_in_use_is_told_and_exits_with_1(tmp_path, store):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = run("serve", "--store.path", str(store), "--grpc.port", port, "--telemetry.metrics-port", "0")
        assert done.returncode == 1
        assert f"cannot listen on 127.0.0.1:{port}" in done.stderr
        assert "Traceback" not in done.stderr
        done = run("serve", "--store.path", str(store), "--grpc.port", "0", "--telemetry.metrics-port", port)
        assert done.returncode == 1
        assert port in done.stderr
        assert "Traceback" not in done.stderr


def test_a_missing_store_is_told_and_exits_with_1(tmp_path):
    done = run("serve", "--store.path", str(tmp_path / "none"), "--grpc.port", "0", "--telemetry.metrics-port", "0")
    assert done.returncode == 1
    assert "none cannot be read" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "environment", "says"),
    [
        (["serve", "--grpc.port", "99999"], {}, "grpc.port"),
        (["serve", "--store.version-policy", "newest"], {}, "store.version_policy"),
        (["serve", "--nonsense", "1"], {}, "--nonsense"),
        (["serve"], {"ATTENDANT_GRPC__PROT": "1"}, "ATTENDANT_GRPC__PROT names no setting"),
        (["serve"], {"ATTENDANT_BACTHING__ENABLED": "1"}, "ATTENDANT_BACTHING__ENABLED"),
        (["serve"], {"ATTENDANT_GRPC__PORT": "many"}, "grpc.port"),
        (["sevre"], {}, "unknown command 'sevre'"),
        ([], {}, "usage"),
    ],
)
def test_wrong_settings_and_usage_are_told_and_exit_with_2(arguments, environment, says):
    done = run(*arguments, **environment)
    assert done.returncode == 2
    assert says in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


def test_variables_of_a_kubernetes_service_are_only_warned_of(tmp_path, store):
    with process(tmp_path, ATTENDANT_PORT="tcp://10.0.0.1:8001") as server:
        assert server.said("environment variable names no setting and is ignored")["variable"] == "ATTENDANT_PORT"


def test_logs_are_json_with_request_ids_and_nothing_of_the_content(tmp_path, store):
    write_version(store, "m", 1, doubling_graph())
    with process(tmp_path, "--telemetry.log-level", "debug") as server:
        with triton.InferenceServerClient(server.address) as client:
            held = triton.InferInput("x", [1, 2], "BYTES")
            held.set_data_from_numpy(np.array([["secret-content", "b"]], dtype=np.object_))
            with pytest.raises(Exception, match="BYTES"):
                client.infer("m", [held], request_id="my-request")
        server.popen.send_signal(signal.SIGTERM)
        assert server.popen.wait(PATIENCE_S) == 0
        assert "secret-content" not in server.log.read_text()
        assert all({"ts", "level", "logger", "message"} <= entry.keys() for entry in server.entries())


def test_check_tells_of_each_version_and_exits_with_1_if_one_is_broken(tmp_path, store):
    write_version(store, "m", 1, doubling_graph())
    done = run("check", "--store.path", str(store))
    assert done.returncode == 0
    assert "m/1  ok      tensors, unverified" in done.stdout
    (store / "m" / "2").mkdir()
    (store / "m" / "2" / "model.onnx").write_bytes(b"\xff")
    done = run("check", "--store.path", str(store))
    assert done.returncode == 1
    assert "m/1  ok" in done.stdout
    assert "m/2  FAILED" in done.stdout
