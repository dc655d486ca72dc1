"""What happens to a running server from outside: its store goes and comes back, or never was; the clock is set."""

import os
import time
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton

from tests.support.graphs import doubling_graph, write_version
from tests.support.server_process import PATIENCE_S, Process, process, run

FAKETIME = next(Path("/usr/lib").glob("**/faketime/libfaketime.so.1"), None)
FOLLOWING = ("--store.poll-s", "0.1")


def doubled_by(server: Process, timeout_s: float | None = PATIENCE_S) -> float:
    """What the served version makes of 1: its factor."""
    held = triton.InferInput("x", [1, 1], "FP32")
    held.set_data_from_numpy(np.ones((1, 1), np.float32))
    with triton.InferenceServerClient(server.address) as client:
        return float(client.infer("m", [held], client_timeout=timeout_s).as_numpy("y")[0, 0])


def becomes(server: Process, factor: float, timeout_s: float | None = PATIENCE_S) -> None:
    """Waits until another version answers."""
    deadline = time.monotonic() + PATIENCE_S
    while (now := doubled_by(server, timeout_s)) != factor and time.monotonic() < deadline:
        pass
    assert now == factor


def test_a_store_that_goes_away_and_returns_is_told_and_served_throughout(tmp_path, store):
    write_version(store, "m", 1, doubling_graph(2.0))
    with process(tmp_path, *FOLLOWING) as server:
        store.rename(tmp_path / "away")
        told = server.said("the store cannot be read; serving what is loaded")
        assert told["level"] == "warning"
        assert "cannot be read: No such file or directory" in str(told["problem"])
        assert doubled_by(server) == 2.0
        (tmp_path / "away").rename(store)
        server.said("the store can be read again")
        write_version(store, "m", 2, doubling_graph(3.0))
        becomes(server, 3.0)
        assert sum("cannot be read" in str(entry["message"]) for entry in server.entries()) == 1


@pytest.mark.parametrize("command", ["serve", "check"])
def test_a_store_that_is_a_file_is_told_and_exits_with_1(tmp_path, command):
    (tmp_path / "store").write_text("no folder")
    done = run(command, "--store.path", str(tmp_path / "store"))
    assert done.returncode == 1
    assert "store cannot be read: Not a directory" in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_store_without_permission_is_told_and_exits_with_1(store):
    store.chmod(0)
    done = run("serve", "--store.path", str(store))
    store.chmod(0o700)
    assert done.returncode == 1
    assert "store cannot be read: Permission denied" in done.stderr


@pytest.mark.skipif(FAKETIME is None, reason="libfaketime is not installed")
def test_a_clock_that_is_set_back_and_forward_moves_only_the_times_in_the_log(tmp_path, store):
    """The wall clock alone, as the operating system sets it: the monotonic one goes on, as it does in the kernel.

    The calls have no deadline: gRPC works out what is left of one from two readings of the wall clock, and libfaketime,
    which reads its file anew for each, can give two threads at once different times.
    """
    write_version(store, "m", 1, doubling_graph(2.0))
    clock = tmp_path / "clock"
    clock.write_text("+0")
    faked = {"LD_PRELOAD": str(FAKETIME), "FAKETIME_DONT_FAKE_MONOTONIC": "1", "FAKETIME_NO_CACHE": "1"}
    with process(tmp_path, *FOLLOWING, FAKETIME_TIMESTAMP_FILE=str(clock), **faked) as server:
        began = str(server.said("serving")["ts"])
        for version, (step, factor) in enumerate([("-400d", 3.0), ("+400d", 4.0)], start=2):
            (tmp_path / "next").write_text(step)
            (tmp_path / "next").replace(clock)
            assert doubled_by(server, None) == factor - 1
            write_version(store, "m", version, doubling_graph(factor))
            becomes(server, factor, None)
            (ready,) = [e for e in server.entries() if e["message"] == "version ready" and e["version"] == version]
            assert (str(ready["ts"]) < began) == step.startswith("-")
            assert 0 <= float(str(ready["seconds"])) < PATIENCE_S
        server.popen.terminate()
        assert server.popen.wait(PATIENCE_S) == 0


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    folder.mkdir()
    return folder
