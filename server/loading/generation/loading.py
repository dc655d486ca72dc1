"""Loads one generative version: open, hold against the manifest, replay, measure.

bundle -> graphs of each precision -> faces and states -> golden rows -> threads, rows or columns -> costs
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from server.batching.cost import ROUGH, Cost, Measurement
from server.codecs import build_codec
from server.codecs.codec import CodecLimits
from server.errors import ArtifactCorrupt, ServeError
from server.generation.encoding import Encoder
from server.generation.slots import StatesFull
from server.generation.steps import StepGraph, StepGraphs
from server.generation.text import Detokenizer
from server.loading.generation.faces import check_encode, check_states, check_step
from server.loading.generation.loaded import LoadedGeneration, WritingGraphs
from server.loading.generation.measuring import Bench, measured, quicker, turned
from server.loading.generation.trial import Trial
from server.loading.samples import Samples
from server.manifest import GenerationSpec, GraphSpec, Manifest, Precision
from server.runtime.binding import BoundRun
from server.runtime.golden import GoldenRow, read_golden
from server.runtime.providers import Execution
from server.runtime.session import Session
from server.settings import BatchingSettings, GenerationSettings, RuntimeSettings
from server.store.bundle import Bundle
from server.tensors import Array

log = logging.getLogger(__name__)

PRECISIONS: tuple[Precision, ...] = ("fp32", "int8")
"""Steps run on the CPU provider alone, whose buffers can be shared; it computes in these."""


@dataclass(frozen=True)
class GenerationLoader:
    """Loads generative versions; `load` blocks."""

    limits: CodecLimits
    batching: BatchingSettings
    runtime: RuntimeSettings
    generation: GenerationSettings
    cores: int

    def load(self, bundle: Bundle) -> LoadedGeneration:
        """Opens, checks, replays and measures. Raises ArtifactCorrupt, with the reason, where any of it fails."""
        manifest = bundle.manifest
        assert manifest.generation is not None  # noqa: S101 - who calls has looked
        codec = build_codec(manifest.codec, bundle.directory, self.limits) if manifest.codec else None
        detokenizer = Detokenizer(bundle.directory, manifest.generation.tokenizer)
        check_states(manifest.states)
        together = self.batching.enabled and manifest.batching.invariant
        opened: list[WritingGraphs] = []
        try:
            for precision in self._precisions(bundle):
                opened.append(_Opening(self, bundle, manifest.generation, precision).open(together))
        except BaseException:
            for one in opened:
                for session in one.sessions:
                    session.close()
            raise
        return LoadedGeneration(
            bundle=bundle,
            codec=codec,
            detokenizer=detokenizer,
            graphs=tuple(opened),
            together=together,
            reason_alone="" if together else "batching is off, or verification saw answers that depend on the company",
            calibrated=bool(self.runtime.calibration_s),
        )

    def _precisions(self, bundle: Bundle) -> list[Precision]:
        """What is served, the default first; what bundle or provider lack is left out with a line in the log."""
        manifest, asked = bundle.manifest, self.runtime.precision
        default = manifest.precision if asked == "manifest" else asked
        served = []
        for wanted in dict.fromkeys([default, *self.runtime.request_precisions]):
            if wanted in PRECISIONS and _step_graphs(manifest, wanted):
                served.append(wanted)
            else:
                extra = {"model": bundle.model, "version": bundle.version, "precision": wanted}
                log.warning("a precision is left out: the bundle has no step graph in it, or the provider", extra=extra)
        if default not in served:
            if not _step_graphs(manifest, "fp32"):
                raise ArtifactCorrupt(f"the bundle has no {default} step graph to run")
            served.insert(0, "fp32")
        return list(dict.fromkeys(served))


class _Opening:
    """The graphs of one precision on their way."""

    def __init__(self, loader: GenerationLoader, bundle: Bundle, spec: GenerationSpec, precision: Precision) -> None:
        self.loader, self.bundle, self.spec, self.precision = loader, bundle, spec, precision
        self.manifest = bundle.manifest
        self.golden: list[GoldenRow] = []
        if self.manifest.golden is not None:
            self.golden = list(read_golden(bundle.directory / self.manifest.golden))
        self.sessions: list[Session] = []

    def open(self, together: bool) -> WritingGraphs:
        try:
            return self._open(together)
        except StatesFull as error:
            self._close()
            raise ArtifactCorrupt(f"the states of this version cannot be held: {error}") from error
        except BaseException:
            self._close()
            raise

    def _open(self, together: bool) -> WritingGraphs:
        most = self.loader.runtime.intra_op_threads or self.loader.cores
        threads = min(most, self.loader.cores)
        graphs = self._graphs(threads)
        if self.loader.runtime.replay_golden and self.precision == "fp32":
            self._replay(graphs)
        if self.loader.runtime.calibration_s:
            graphs = self._measured(graphs, together)
        if graphs.step.columns is not None and not graphs.step.columns_rows:
            graphs = self._without_columns(graphs)
        return graphs

    def _graphs(self, threads: int) -> WritingGraphs:
        """Opens every graph with so many threads."""
        found = _step_graphs(self.manifest, self.precision)
        assert found is not None  # noqa: S101 - a precision without one is not opened
        plain, maps, columns = found
        encode = next((g for g in self.manifest.graphs if g.role == "encode" and g.precision == self.precision), None)
        sessions: list[Session] = []
        run = None
        if encode is not None:
            sessions.append(self._session(encode, threads))
            check_encode(self.manifest, encode, sessions[-1])
            run = sessions[-1].run
        elif any(state.source is not None for state in self.manifest.states):
            raise ArtifactCorrupt(f"the bundle has a step graph in {self.precision}, but no encode graph")
        step = self._step(plain, threads, sessions)
        with_maps = None if maps is None or maps is plain else self._step(maps, threads, sessions)
        as_columns = None if columns is None else self._step(columns, threads, sessions)
        return WritingGraphs(
            precision=self.precision,
            encode=run,
            step=StepGraphs(step, with_maps, as_columns),
            threads=threads,
            encode_cost=Cost(ROUGH),
            read_cost=Cost(ROUGH),
            step_cost=Cost(ROUGH),
            sessions=tuple(sessions),
        )

    def _without_columns(self, graphs: WritingGraphs) -> WritingGraphs:
        """Lets go of the graph that no number of rows would run on; `_graphs` opened it last."""
        *kept, columns = graphs.sessions
        columns.close()
        self.sessions.remove(columns)
        return replace(graphs, step=replace(graphs.step, columns=None), sessions=tuple(kept))

    def _step(self, graph: GraphSpec, threads: int, sessions: list[Session]) -> StepGraph:
        session = self._session(graph, threads)
        sessions.append(session)
        check_step(self.manifest, self.spec, graph, session)
        return StepGraph(
            bind=lambda inputs, outputs: BoundRun(session, inputs, outputs),
            run=lambda inputs, outputs: session.run(inputs, outputs),
            maps=graph.maps,
        )

    def _session(self, graph: GraphSpec, threads: int) -> Session:
        session = Session.open(
            self.bundle.graph_path(graph),
            execution=Execution(precision=self.precision, threads=threads, spins=True),
            sha256=self.bundle.sha256(graph.file),
        )
        self.sessions.append(session)
        return session

    def _close(self) -> None:
        for session in self.sessions:
            session.close()

    # --- golden rows --------------------------------------------------------------------------------------------------

    def _replay(self, graphs: WritingGraphs) -> None:
        """A host that scores tokens differently from the one that verified the bundle must not get ready."""
        tolerance = next(g.tolerance for g in self.manifest.graphs if g.role == "step")
        name = self.manifest.golden
        for number, row in enumerate(self.golden):
            where = f"{name}: row {number}"
            try:
                tokens, expected = row.inputs[self.spec.tokens], row.outputs[self.spec.logits]
                answers = [
                    self._walk(graphs, graph, row, tokens[0].tolist())
                    for graph in (graphs.step.plain, graphs.step.columns)
                    if graph is not None
                ]
            except (KeyError, IndexError, ValueError, ServeError) as error:
                raise ArtifactCorrupt(f"{where} cannot be replayed") from error
            for answer in answers:
                if answer.shape != expected[0].shape or not np.abs(answer - expected[0]).max(initial=0.0) <= tolerance:
                    raise ArtifactCorrupt(
                        f"{where}: the scores of tokens differ on this host by more than {tolerance:.3g}"
                    )

    def _walk(self, graphs: WritingGraphs, step: StepGraph, row: GoldenRow, tokens: list[int]) -> NDArray[np.float32]:
        trial = Trial(self.manifest, step, 1, self.loader.generation.max_state_bytes)
        start = {}
        if graphs.encode is not None:
            encoder = Encoder(self.manifest, graphs.encode)
            start = graphs.encode({spec.name: row.inputs[spec.name] for spec in self.manifest.inputs}, encoder.outputs)
        trial.join(start, 1)
        return np.stack([trial.step([token])[0].copy() for token in tokens])

    # --- costs --------------------------------------------------------------------------------------------------------

    def _measured(self, graphs: WritingGraphs, together: bool) -> WritingGraphs:
        """With the number of threads that is quickest, and what its runs cost."""
        settings = self.loader.runtime
        bench = Bench(
            manifest=self.manifest,
            samples=Samples(self.manifest, self.golden),
            max_rows=self.loader.generation.max_rows if together else 1,
            max_bytes=self.loader.generation.max_state_bytes,
            seconds=settings.calibration_s / 4,
        )
        ways = [graphs]
        if graphs.threads > 1 and not settings.intra_op_threads:
            ways.append(self._graphs(1))
        steps, found = self._quickest_graphs(bench, ways)
        if len(ways) > 1:
            kept = 0 if quicker(found[1], found[0]) else 1
            for session in ways[1 - kept].sessions:
                session.close()
                self.sessions.remove(session)
            graphs, steps, found = ways[kept], [steps[kept]], [found[kept]]
        encode = bench.encode(Encoder(self.manifest, graphs.encode)) if graphs.encode is not None else []
        read = bench.read(graphs.step.plain, self._start(bench, graphs)) if self.spec.max_new > 1 else []
        return replace(
            graphs,
            step=steps[0],
            encode_cost=measured(encode, graphs.encode_cost),
            read_cost=measured(read, graphs.read_cost),
            step_cost=measured(found[0], graphs.step_cost),
        )

    def _quickest_graphs(
        self, bench: Bench, ways: Sequence[WritingGraphs]
    ) -> tuple[list[StepGraphs], list[list[Measurement]]]:
        """Of each way its graphs, with the numbers of rows that run as columns, and what steps take so."""
        tried = [
            (graph, self._start(bench, way))
            for way in ways
            for graph in (way.step.plain, way.step.columns)
            if graph is not None
        ]
        taken = iter(bench.steps(tried))
        steps, found = [], []
        for way in ways:
            rows = next(taken)
            if way.step.columns is None:
                steps.append(way.step)
                found.append(rows)
                continue
            columns = next(taken)
            numbers = turned(rows, columns, bench.max_rows)
            steps.append(replace(way.step, columns_rows=numbers))
            pairs = zip(rows, columns, strict=True)
            found.append([other if one.work.rows in numbers else one for one, other in pairs])
        return steps, found

    def _start(self, bench: Bench, graphs: WritingGraphs) -> dict[str, Array]:
        if graphs.encode is None:
            return {}
        encoder = Encoder(self.manifest, graphs.encode)
        source = bench.samples.rows(1, min(16, bench.samples.longest), encoder.outputs)
        return dict(graphs.encode(source.inputs, encoder.outputs))


def _step_graphs(
    manifest: Manifest, precision: Precision
) -> tuple[GraphSpec, GraphSpec | None, GraphSpec | None] | None:
    """(the plain step graph, that which gives attention weights, that over columns); None for no graph at all."""
    steps = [graph for graph in manifest.graphs if graph.role == "step" and graph.precision == precision]
    graphs = [graph for graph in steps if graph.layout == "rows"]
    if not graphs:
        return None
    plain = next((graph for graph in graphs if not graph.maps), graphs[0])
    maps = next((graph for graph in graphs if graph.maps), None)
    return plain, maps, next((graph for graph in steps if graph.layout == "columns"), None)
