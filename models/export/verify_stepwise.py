"""Proves a candidate that writes token by token: its graphs one by one, and whole texts written through them.

Every step graph writes all texts, together with the graph that encodes in the same precision.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch

from models.export.cases import sample_rows
from models.export.failure import CandidateUnusable, ParityFailed
from models.export.golden import write_golden_texts
from models.export.proof import judge, opened
from models.export.quantise_verify import check_tolerance
from models.export.rows import Row
from models.export.stepwise import encode_outputs, step_inputs, step_outputs
from models.export.stepwise_cases import Case, fewer, sample_texts, written_cases
from models.export.stepwise_parity import Seen, largest_numbers, measure_encode, measure_walks, stepwise_network
from models.export.trained import Trained
from models.export.walk import Walker
from models.networks.stepwise import Stepwise
from server.manifest import GraphSpec, InputSpec, Manifest, OutputParity, OutputSpec, ParityReport
from server.runtime.session import Session

SMALL_NETWORK = 1_000_000
"""Parameters."""


def verify_stepwise(
    trained: Trained, bundle: Path, manifest: Manifest
) -> tuple[ParityReport, str, tuple[GraphSpec, ...]]:
    """The report on the graphs in fp32, the golden file, and all graphs, those in int8 with their parity.

    Raises what `verify_candidate` raises; CandidateUnusable also where the inputs and outputs of a graph are not those
    that the signature's states need.
    """
    with threads_for(stepwise_network(trained)):
        return _verify(trained, bundle, manifest)


def _verify(trained: Trained, bundle: Path, manifest: Manifest) -> tuple[ParityReport, str, tuple[GraphSpec, ...]]:
    samples = sample_rows(trained, bundle)
    plain = next(graph for graph in manifest.graphs if graph.role == "step" and graph.precision == "fp32")
    with walker_of(trained, bundle, manifest, plain) as walker:
        texts = sample_texts(walker, samples)
        cases = tuple(written_cases(texts, samples, trained.signature, trained.record.seed))
        seen = Seen()
        if walker.encode is not None:
            measure_encode(trained, walker.encode, [case.rows for case in cases], seen)
        _measure_writing(trained, walker, cases, seen)
        for graph in manifest.graphs:
            if graph.role == "step" and graph.precision == "fp32" and graph != plain:
                with walker_of(trained, bundle, manifest, graph) as other:
                    _measure_writing(trained, other, fewer(cases), seen)
        report = seen.report(plain.tolerance)
        judge(report)
        golden = write_golden_texts(bundle, walker, texts)
    proven = tuple(_prove(trained, bundle, manifest, graph, texts, fewer(cases), report) for graph in manifest.graphs)
    return report, golden, proven


@contextmanager
def threads_for(network: Stepwise) -> Iterator[None]:
    """One thread for PyTorch where the network is small: its threads would spend longer on meeting than on work."""
    threads = torch.get_num_threads()
    if sum(tensor.numel() for tensor in network.parameters()) < SMALL_NETWORK:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def walker_of(trained: Trained, bundle: Path, manifest: Manifest, step: GraphSpec) -> Iterator[Walker]:
    """A step graph with the graph that encodes in the same precision, open in sessions.

    Raises CandidateUnusable if one does not open or fails at a run, or takes or gives something else than it should.
    """
    signature = trained.signature
    with ExitStack() as sessions:
        encode = None
        for graph in manifest.graphs:
            if graph.role == "encode" and graph.precision == step.precision:
                encode = sessions.enter_context(opened(bundle, graph))
                check_face(graph, encode, signature.inputs, encode_outputs(signature.states))
        session = sessions.enter_context(opened(bundle, step))
        check_face(step, session, step_inputs(signature), step_outputs(signature, maps=step.maps))
        yield Walker(signature, session, encode, maps=step.maps)


def check_face(graph: GraphSpec, session: Session, inputs: Sequence[InputSpec], outputs: Sequence[OutputSpec]) -> None:
    """Raises CandidateUnusable unless the graph takes exactly these inputs and gives exactly these outputs."""
    for kind, found, expected in (
        ("inputs", session.inputs, inputs),
        ("outputs", session.outputs, outputs),
    ):
        theirs = {(tensor.name, tensor.datatype) for tensor in found}
        ours = {(spec.name, spec.datatype) for spec in expected}
        if theirs != ours:
            odd = ", ".join(f"{name} {datatype}" for name, datatype in sorted(theirs ^ ours))
            raise CandidateUnusable(f"the {kind} of {graph.file} do not match the model's inputs and states: {odd}")


def _measure_writing(trained: Trained, walker: Walker, cases: Sequence[Case], seen: Seen) -> None:
    """All cases as whole texts; the first ones, which are of the samples, also run by run."""
    measure_walks(trained, walker, cases[:2], seen, steps=True)
    measure_walks(trained, walker, cases[2:], seen, steps=False)


def _prove(
    trained: Trained,
    bundle: Path,
    manifest: Manifest,
    graph: GraphSpec,
    texts: Sequence[Row],
    cases: Sequence[Case],
    fp32: ParityReport,
) -> GraphSpec:
    """The graph with its parity, if it is in int8; any other as it is. `fp32` is the report on those.

    Raises CandidateUnusable if it does not say what it lost or its tolerance proves nothing, ParityFailed if it is
    further off than that.
    """
    if graph.precision != "int8":
        return graph
    if graph.quantisation is None:
        raise CandidateUnusable(f"{graph.file} does not say what it lost: make it with `python -m models quantise`")
    started, logits = largest_numbers(trained, texts)
    check_tolerance(graph, started if graph.role == "encode" else logits)
    seen = Seen()
    if graph.role == "encode":
        with opened(bundle, graph) as session:
            measure_encode(trained, session, [case.rows for case in cases], seen)
    else:
        with walker_of(trained, bundle, manifest, graph) as walker:
            measure_walks(trained, walker, cases, seen, steps=False)
    _judge_quantised(graph, seen.parities(), seen.to_alone.largest, fp32)
    return graph.model_copy(update={"quantisation": graph.quantisation.model_copy(update={"parity": seen.parities()})})


def _judge_quantised(graph: GraphSpec, outputs: Sequence[OutputParity], to_alone: float, fp32: ParityReport) -> None:
    off = {parity.output: parity.max_error for parity in outputs if not parity.max_error <= graph.tolerance}
    if off:
        raise ParityFailed(
            f"{graph.file} differs from PyTorch by up to {max(off.values()):.2e}, "
            f"over its tolerance of {graph.tolerance:.1e}, in {', '.join(off)}",
            fp32,
        )
    if not to_alone <= graph.tolerance:
        raise ParityFailed(
            f"{graph.file} answers a row in a batch up to {to_alone:.2e} from the same row alone, "
            f"over its tolerance of {graph.tolerance:.1e}",
            fp32,
        )
