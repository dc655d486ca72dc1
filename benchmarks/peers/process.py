"""A server as a process of its own: started on loopback, watched, stopped by its number."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

from benchmarks.peers.adapter import PeerUnavailable, last_line

START_TIMEOUT_S = 180.0
STOP_TIMEOUT_S = 30.0
LOOK_S = 0.25


def free_port() -> int:
    """A port on loopback that nobody listens on now."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
    return port


class ServerProcess:
    """A running server and its children."""

    def __init__(
        self, title: str, command: Sequence[str], variables: Mapping[str, str], log: Path, *, told: bool = False
    ) -> None:
        """Starts it; one that is `told` reads its standard input."""
        self.title = title
        self._log = log
        with log.open("w") as sink:
            self._process = subprocess.Popen(
                command,
                env={**os.environ, **variables},
                stdin=subprocess.PIPE if told else subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                start_new_session=True,
            )

    def wait_until(self, ready: Callable[[], bool], timeout_s: float = START_TIMEOUT_S, when: str = "start") -> None:
        """Asks again and again whether the server is ready; `when` says of what that is the end.

        Raises PeerUnavailable if it ends or takes too long.
        """
        deadline = time.monotonic() + timeout_s
        while not ready():
            if self._process.poll() is not None:
                code = self._process.returncode
                raise PeerUnavailable(f"{self.title} ended with {code} at its {when}: {last_line(self._log)}")
            if time.monotonic() > deadline:
                raise PeerUnavailable(
                    f"{self.title} was not ready with its {when} after {timeout_s:.0f} s: {last_line(self._log)}"
                )
            time.sleep(LOOK_S)

    def tell(self, line: str) -> None:
        """Writes to its standard input; to one that has ended, which the next `wait_until` notices, nothing."""
        assert self._process.stdin is not None, "it was not started to be told anything"
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(line.encode())
            self._process.stdin.flush()

    def cpu_s(self) -> float:
        """Processor time so far, of the process and of its children that live."""
        return sum(_cpu_s(process) for process in self._family())

    def stop(self) -> None:
        """SIGTERM, then SIGKILL for whoever of the family is still there."""
        family = self._family()
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_TIMEOUT_S)
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()  # Only if it is still the process that it was: psutil compares when it began.
        self._process.wait()

    def _family(self) -> list[psutil.Process]:
        try:
            parent = psutil.Process(self._process.pid)
            return [parent, *parent.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []


def _cpu_s(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)
