"""The server as a process of its own, as an operator starts it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60.0


@dataclass
class Process:
    """A running server and its log."""

    popen: "subprocess.Popen[bytes]"
    log: Path
    address: str = ""

    def entries(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.log.read_text().splitlines(keepends=True) if line.endswith("\n")]

    def said(self, message: str) -> dict[str, object]:
        """Waits for a line of the log."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            for entry in self.entries():
                if entry["message"] == message:
                    return entry
            if self.popen.poll() is not None:
                break
            time.sleep(0.02)
        raise AssertionError(f"{message!r} not in the log:\n{self.log.read_text()}")


@contextmanager
def process(tmp_path: Path, *flags: str, **environment: str) -> Iterator[Process]:
    log = tmp_path / "server.log"
    command = [sys.executable, "-m", "server", "serve", "--store.path", str(tmp_path / "store")]
    command += ["--grpc.port", "0", "--telemetry.metrics-port", "0", *flags]
    with log.open("wb") as sink:
        popen = subprocess.Popen(command, cwd=ROOT, stderr=sink, env={**os.environ, **environment})
    try:
        running = Process(popen, log)
        running.address = f"127.0.0.1:{running.said('serving')['grpc_port']}"
        yield running
    finally:
        if popen.poll() is None:
            popen.kill()
        popen.wait(PATIENCE_S)


def run(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "server", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )


def in_flight(server: Process, calls: int) -> None:
    """Waits until the server tells of so many calls in flight on its metrics port."""
    url = f"http://127.0.0.1:{server.said('serving')['metrics_port']}/metrics"
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        with urlopen(url) as reply:
            if f"\nattendant_requests_in_flight {calls}.0".encode() in reply.read():
                return
        time.sleep(0.02)
    raise AssertionError(f"never were {calls} calls in flight")
