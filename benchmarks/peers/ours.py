"""Our server, as `python -m server serve` starts it."""

import json
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

from typing_extensions import override

from benchmarks.load.plan import Prepared
from benchmarks.load.requests import Ids
from benchmarks.peers.adapter import environment, openvino_runtime
from benchmarks.peers.process import free_port
from benchmarks.peers.target import Command
from benchmarks.peers.wire import OpenInference

ROOT = Path(__file__).parents[2]

SETTINGS: Mapping[str, Sequence[str]] = {
    "on": (),
    "off": ("--batching.enabled", "false"),
    "static": ("--generation.static", "true"),
}
"""The flags of each setting by name; `on` is what the server does when nobody tells it anything; with `static`
nothing joins before the batch is empty."""

PRECISIONS: Mapping[str, Sequence[str]] = {
    "fp32": (),
    "bf16": ("--runtime.precision", "bf16"),
    "int8": ("--runtime.precision", "int8"),
}
"""The flags of each precision; fp32 is what bundles ask for themselves."""

ASKING_EVERY = 100


def our_python(precision: str, cache: Path) -> Path:
    """The Python that runs our server: this one, or for bf16 one with the extra `openvino`, made on the first call.

    Raises PeerUnavailable with pip's own reason.
    """
    if precision != "bf16":
        return Path(sys.executable)
    # As the Makefile installs the rest; the stubs' protobuf is that of this environment too.
    wanted = ("--editable", str(ROOT / "client"), "--editable", f"{ROOT}[openvino]", openvino_runtime(), "protobuf<7")
    return environment("ours", "our server", wanted, cache, depends=_declared())


def _declared() -> str:
    """What the project and its client say that they need, so that a change of it makes a new environment."""
    projects = [
        tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        for folder in (ROOT, ROOT / "client")
    ]
    extras = projects[0]["optional-dependencies"]
    return json.dumps([project["dependencies"] for project in projects] + [extras["serve"], extras["openvino"]])


def our_server(store: Path, flags: Sequence[str], python: Path) -> Command:
    """Our server on a store, on free ports, with the store read once."""
    port = free_port()
    arguments = [str(python.absolute()), "-m", "server", "serve", "--store.path", str(store)]
    arguments += ["--store.control", "none", "--grpc.port", str(port), "--telemetry.metrics-port", "0"]
    arguments += ["--telemetry.log-level", "warning", *flags]
    return Command("our server", arguments, {"PYTHONPATH": str(ROOT)}, port)


def bare_echo() -> Command:
    """The bare grpc.aio server."""
    port = free_port()
    variables = {"PYTHONPATH": str(ROOT), "BENCH_PORT": str(port)}
    return Command("the bare echo", [sys.executable, "-m", "benchmarks.peers.echo.serve"], variables, port)


class ExplainedInference(OpenInference):
    """Every hundredth request, counted by length, also asks for the attention weights of all layers.

    So those that ask are of all lengths but the longest, whose weights are more than a reply may hold.
    """

    def __init__(self, model: str, maps: Sequence[str]) -> None:
        super().__init__(model)
        self._asking = OpenInference(model, further=maps)

    @override
    def prepare(self, rows: Sequence[Ids], port: int) -> Prepared:
        plain = super().prepare(rows, port)
        asking = self._asking.prepare(rows, port)
        by_length = sorted(range(len(rows)), key=lambda index: len(rows[index]))
        chosen = list(plain.requests)
        for index in by_length[ASKING_EVERY // 2 :: ASKING_EVERY]:
            chosen[index] = asking.requests[index]
        return Prepared(plain.transport, port, chosen, plain.path)
