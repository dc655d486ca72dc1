"""Opens a bundle's graphs as variants: which graphs serve a precision, on which provider, laid out over which sizes."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from server.batching.collate import PaddedRows
from server.batching.cost import ROUGH, Cost
from server.batching.lattice import Lattice
from server.batching.layout import Layout
from server.batching.pack import BlockDiagonal, Gathered
from server.batching.variant import BatchLimits, Variant
from server.errors import ArtifactCorrupt
from server.loading.threads import ThreadPlan
from server.manifest import GraphSpec, Manifest, Precision
from server.packed import packed_inputs, packed_outputs
from server.runtime.providers import Execution, Provider, ProviderSetting, choose_execution
from server.runtime.session import RunStop, Session
from server.runtime.session_pool import SessionPool
from server.store.bundle import Bundle

log = logging.getLogger(__name__)

OPENVINO_STEP, OPENVINO_OCTAVE = 16, 2
"""A new shape makes OpenVINO prepare its kernels anew, and another one than the last costs it some time: few token
counts, all multiples of 16."""
OPENVINO_PACKED_ROWS = Lattice((32, 256))
"""Packed rows matter only where they are summed up: hardly at all."""
OPENVINO_ROWS = Lattice((1, 2, 4, 8, 16, 32, 64, 128, 256))


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """A variant with what must be closed with it."""

    variant: Variant
    sessions: tuple[Session, ...]
    spec: GraphSpec

    def close(self) -> None:
        """Gives the memory back."""
        for session in self.sessions:
            session.close()


def graphs_of(manifest: Manifest, precision: Precision) -> list[GraphSpec]:
    """The graphs that answer requests in a precision, the one in rows first; empty where there is none.

    bf16 runs the fp32 graphs, on a provider that computes in it.
    """
    stored = "fp32" if precision == "bf16" else precision
    graphs = [graph for graph in manifest.graphs if graph.precision == stored]
    rows = [graph for graph in graphs if graph.layout == "rows"]
    # bf16 means OpenVINO, and a gathered run has three sizes: too many shapes to prepare kernels for.
    layouts = ("block-diagonal",) if precision == "bf16" else ("block-diagonal", "gathered")
    return [rows[0], *(graph for graph in graphs if graph.layout in layouts)] if rows else []


@dataclass(frozen=True, slots=True)
class Opener:
    """Opens the graphs of one bundle."""

    bundle: Bundle
    limits: BatchLimits
    cores: int
    provider: ProviderSetting = "auto"

    def open(self, graph: GraphSpec, precision: Precision, plan: ThreadPlan) -> Opened:
        """Opens a graph, and holds its inputs and outputs against the manifest's.

        Raises ArtifactCorrupt where the graph is refused, ModelNotReady where this host has no way to run it.
        """
        at_once = max(1, self.cores // plan.threads)
        execution = choose_execution(precision, self.provider, threads=plan.threads, streams=at_once)
        sessions: list[Session] = []
        try:
            for _ in range(plan.sessions):
                sessions.append(
                    Session.open(
                        self.bundle.graph_path(graph), execution=execution, sha256=self.bundle.sha256(graph.file)
                    )
                )
            self._check(graph, sessions[0])
        except BaseException:
            for session in sessions:
                session.close()
            raise
        # What runs may be the CPU after all, where a provider could take nothing of the graph.
        return Opened(self._variant(graph, plan, sessions[0].execution, sessions), tuple(sessions), graph)

    def _check(self, graph: GraphSpec, session: Session) -> None:
        manifest = self.bundle.manifest
        if graph.packed is None:
            check_signature(manifest, session)
            return
        names = [tensor.name for tensor in packed_inputs(manifest.inputs, graph.packed)]
        if [tensor.name for tensor in session.inputs] != names:
            raise ArtifactCorrupt(f"{graph.file} is {graph.layout}, but its inputs are not {', '.join(names)}")
        missing = {spec.name for spec in packed_outputs(manifest.outputs)} - {t.name for t in session.outputs}
        if missing:
            raise ArtifactCorrupt(f"{graph.file} lacks the outputs {', '.join(sorted(missing))}")

    def _variant(
        self, graph: GraphSpec, plan: ThreadPlan, execution: Execution, sessions: Sequence[Session]
    ) -> Variant:
        manifest = self.bundle.manifest
        offered = {tensor.name for tensor in sessions[0].outputs}
        usual = tuple(spec.name for spec in manifest.outputs if spec.role != "attention" and spec.name in offered)
        return Variant(
            layout=self._layout(graph, execution),
            precision=graph_precision(graph, execution),
            run=sessions[0].run if len(sessions) == 1 else SessionPool(sessions).run,
            outputs=frozenset(offered),
            usual_outputs=usual or tuple(spec.name for spec in manifest.outputs),
            cost=Cost(ROUGH),
            graph=graph.file,
            provider=sessions[0].provider,
            threads=plan.threads,
            make_stop=RunStop,
            foreseeable=not sessions[0].loops,
            counts_cpu=execution.provider is Provider.CPU,
            streams=1 if execution.provider is Provider.CPU else execution.streams,
        )

    def _layout(self, graph: GraphSpec, execution: Execution) -> Layout:
        manifest = self.bundle.manifest
        few = execution.provider is Provider.OPENVINO
        if graph.layout == "rows":
            if not few:
                return PaddedRows(manifest.inputs, manifest.outputs)
            return PaddedRows(manifest.inputs, manifest.outputs, self._few_sizes(), OPENVINO_ROWS)
        packed = BlockDiagonal if graph.layout == "block-diagonal" else Gathered
        lattice, rows = (self._few_sizes(), OPENVINO_PACKED_ROWS) if few else (self._many_sizes(), Lattice.exact())
        return packed(manifest.inputs, manifest.outputs, lattice, rows)

    def _few_sizes(self) -> Lattice:
        return Lattice.graded(self.limits.max_tokens, step=OPENVINO_STEP, octave=OPENVINO_OCTAVE)

    def _many_sizes(self) -> Lattice:
        return Lattice.graded(self.limits.max_tokens)


def graph_precision(graph: GraphSpec, execution: Execution) -> Precision:
    """What a graph really computes in: int8 is its own, bf16 the provider's."""
    return "int8" if graph.precision == "int8" else execution.precision


def check_signature(manifest: Manifest, session: Session) -> None:
    """Holds the manifest's inputs and outputs against the graph's own.

    Raises ArtifactCorrupt where names, datatypes or ranks differ.
    """
    for kind, specs, tensors in (
        ("input", manifest.inputs, session.inputs),
        ("output", manifest.outputs, session.outputs),
    ):
        declared = {tensor.name: tensor for tensor in tensors}
        for spec in specs:
            tensor = declared.get(spec.name)
            if tensor is None:
                raise ArtifactCorrupt(f"the manifest has {kind} {spec.name!r}, the graph has not")
            if tensor.datatype is not spec.datatype:
                raise ArtifactCorrupt(
                    f"{kind} {spec.name!r} is {tensor.datatype} in the graph, {spec.datatype} in the manifest"
                )
            if tensor.shape and len(tensor.shape) != len(spec.axes):
                raise ArtifactCorrupt(
                    f"{kind} {spec.name!r} has rank {len(tensor.shape)} in the graph, {len(spec.axes)} in the manifest"
                )
    unfed = {tensor.name for tensor in session.inputs} - {spec.name for spec in manifest.inputs}
    if unfed:
        raise ArtifactCorrupt(f"the graph has inputs that the manifest lacks: {', '.join(sorted(unfed))}")
