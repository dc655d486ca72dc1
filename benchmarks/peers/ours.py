"""Our server, as `python -m server serve` starts it."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from typing_extensions import override

from benchmarks.load.plan import Prepared
from benchmarks.load.requests import Ids
from benchmarks.peers.process import free_port
from benchmarks.peers.target import Command
from benchmarks.peers.wire import OpenInference

ROOT = Path(__file__).parents[2]

SETTINGS: Mapping[str, Sequence[str]] = {
    "on": (),
    "off": ("--batching.enabled", "false"),
}
"""The flags of each setting by name; `on` is what the server does when nobody tells it anything."""

ASKING_EVERY = 100


def our_server(store: Path, flags: Sequence[str]) -> Command:
    """Our server on a store, on free ports, with the store read once."""
    port = free_port()
    arguments = [sys.executable, "-m", "server", "serve", "--store.path", str(store), "--store.control", "none"]
    arguments += ["--grpc.port", str(port), "--telemetry.metrics-port", "0", "--telemetry.log-level", "warning", *flags]
    return Command("our server", arguments, {"PYTHONPATH": str(ROOT)}, port)


def bare_echo() -> Command:
    """The bare grpc.aio server."""
    port = free_port()
    variables = {"PYTHONPATH": str(ROOT), "BENCH_PORT": str(port)}
    return Command("the bare echo", [sys.executable, "-m", "benchmarks.peers.echo.serve"], variables, port)


class ExplainedInference(OpenInference):
    """Every hundredth request also asks for the attention weights of all layers."""

    def __init__(self, model: str, maps: Sequence[str]) -> None:
        super().__init__(model)
        self._asking = OpenInference(model, further=maps)

    @override
    def prepare(self, rows: Sequence[Ids], port: int) -> Prepared:
        plain = super().prepare(rows, port)
        asking = self._asking.prepare(rows, port)
        chosen = [
            (asking if index % ASKING_EVERY == 0 else plain).requests[index] for index in range(len(plain.requests))
        ]
        return Prepared(plain.transport, port, chosen, plain.path)
