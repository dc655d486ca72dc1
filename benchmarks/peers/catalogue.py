"""All peers, and every side of a pair by its name."""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load.drive import Generator
from benchmarks.load.requests import RequestList
from benchmarks.peers.adapter import Peer, install
from benchmarks.peers.graphs import graph_file
from benchmarks.peers.in_process import PLANS
from benchmarks.peers.in_process_target import InProcessTarget
from benchmarks.peers.litserve.adapter import PEER as LITSERVE
from benchmarks.peers.mlserver.adapter import PEER as MLSERVER
from benchmarks.peers.mosec.adapter import PEER as MOSEC
from benchmarks.peers.ours import (
    PRECISIONS,
    ROOT,
    SETTINGS,
    ExplainedInference,
    bare_echo,
    our_python,
    our_server,
)
from benchmarks.peers.process import free_port
from benchmarks.peers.pytriton.adapter import PEER as PYTRITON
from benchmarks.peers.ray_serve.adapter import PEER as RAY_SERVE
from benchmarks.peers.target import Command, ServerTarget, Target
from benchmarks.peers.wire import BareEcho, NoopInference, OpenInference, Wire
from benchmarks.shapes.publish import NOOP, SHAPES, published
from server.runtime.cores import available_cores

PEERS: Mapping[str, Peer] = {peer.name: peer for peer in (MOSEC, LITSERVE, MLSERVER, PYTRITON, RAY_SERVE)}
BATCHES: Mapping[str, int] = {"plain": 1, "batching": 8}
"""A peer's settings by name: the largest batch."""
OURS, ECHO, IN_PROCESS, SCHEDULER = "ours", "echo", "in-process", "scheduler"
PLANNED = {IN_PROCESS: "benchmarks.peers.in_process", SCHEDULER: "benchmarks.peers.without_grpc"}
"""The modules that run the plans without a port, by target."""


@dataclass(frozen=True)
class Arm:
    """One side of a pair: who answers, with which setting, running which shape in which precision."""

    target: str
    setting: str
    shape: str = "minilm-shape"
    precision: str = "fp32"
    asking: bool = False
    """Ours only: one request in a hundred also asks for attention weights."""
    streamed: bool = False
    """Ours only, of what writes text: each token is sent as it is written."""

    @property
    def id(self) -> str:
        """Such as `mosec/plain/minilm-shape/fp32`."""
        marks = [name for name in ("asking", "streamed") if getattr(self, name)]
        return "/".join([self.target, self.setting, self.shape, self.precision, *marks])


@dataclass(frozen=True)
class Maker:
    """Makes targets; nothing is installed or started before a target is."""

    generator: Generator
    cache: Path

    def make(self, arm: Arm, probe: RequestList) -> Target:
        """The target of an arm. Raises KeyError for a name that nobody has."""
        log = self.cache / "logs" / f"{arm.id.replace('/', '-')}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        if arm.target in PLANNED:
            return InProcessTarget(lambda scratch: self._plan(arm, scratch), log)
        if arm.target == OURS:
            flags = (*SETTINGS[arm.setting], *PRECISIONS[arm.precision])
            return ServerTarget(lambda: self._ours(arm, flags), _our_wire(arm), self.generator, probe, log)
        if arm.target == ECHO:
            return ServerTarget(bare_echo, BareEcho(NoopInference()), self.generator, probe, log)
        peer, batch = PEERS[arm.target], BATCHES[arm.setting]
        return ServerTarget(lambda: self._peer(peer, batch, arm), peer.wire(batch), self.generator, probe, log)

    def _ours(self, arm: Arm, flags: Sequence[str]) -> Command:
        graph_file(arm.shape, arm.precision, self.cache)  # Without it the server would not get ready: say why at once.
        return our_server(published(arm.shape, self.cache), flags, our_python(arm.precision, self.cache))

    def _plan(self, arm: Arm, scratch: Path) -> Command:
        layout = PLANS[arm.setting].layout if arm.target == IN_PROCESS else "rows"
        variables = self._variables(arm, graph_file(arm.shape, arm.precision, self.cache, layout), scratch)
        python = our_python(arm.precision, self.cache)
        arguments = [str(python.absolute()), "-m", PLANNED[arm.target], arm.setting]
        return Command(f"the plan {arm.setting}", arguments, variables, port=0)

    def _peer(self, peer: Peer, batch: int, arm: Arm) -> Command:
        graph = graph_file(arm.shape, arm.precision, self.cache)
        python = install(peer, self.cache, arm.precision)
        scratch = self.cache / "scratch" / arm.id.replace("/", "-")
        shutil.rmtree(scratch, ignore_errors=True)  # What a run that was cut short has left would be in the way.
        scratch.mkdir(parents=True)
        port = free_port()
        variables = {
            **peer.variables,
            **self._variables(arm, graph, scratch),
            "PATH": os.pathsep.join([str(python.parent), os.environ.get("PATH", "")]),
            "BENCH_PORT": str(port),
            "BENCH_SPARE_PORT_1": str(free_port()),
            "BENCH_SPARE_PORT_2": str(free_port()),
            "BENCH_BATCH": str(batch),
        }
        return Command(peer.title, [str(python.absolute()), "-m", peer.module], variables, port)

    @staticmethod
    def _variables(arm: Arm, graph: Path, scratch: Path) -> dict[str, str]:
        """What peers and plans are told alike."""
        return {
            "PYTHONPATH": str(ROOT),
            "BENCH_GRAPH": str(graph.resolve()),
            "BENCH_WORKERS": str(available_cores()),
            "BENCH_PRECISION": arm.precision,
            "BENCH_SCRATCH": str(scratch.resolve()),
            # Libraries below the peers start a pool of threads each, which would only be in the way.
            "OMP_NUM_THREADS": "1",
        }


def _our_wire(arm: Arm) -> Wire:
    if arm.shape == NOOP:
        return NoopInference()
    if arm.asking:
        layers = SHAPES[arm.shape].num_layers
        return ExplainedInference(arm.shape, [f"attention_{layer}" for layer in range(layers)])
    return OpenInference(arm.shape)
