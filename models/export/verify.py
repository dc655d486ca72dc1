"""Proves a candidate: what ONNX Runtime answers is what PyTorch answers, alone and in any batch.

A candidate that passes gets the parity report, golden rows and the digests of all files that were verified.
"""

from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from models.export.bundle import read_candidate, write_manifest
from models.export.cases import generated_cases, sample_cases, sample_rows
from models.export.digest import digests
from models.export.golden import write_golden
from models.export.packed_parity import measure_packed, packed_mixes
from models.export.parity import measure_parity
from models.export.proof import judge, opened
from models.export.quantise_verify import prove_quantised, without_parity
from models.export.report import is_invariant
from models.export.rows import Row
from models.export.trained import Trained
from models.export.verify_stepwise import verify_stepwise
from server.manifest import MANIFEST_FILE, GraphSpec, Manifest, PackedParity, ParityReport


def verify_candidate(trained: Trained, bundle: Path) -> ParityReport:
    """Measures a candidate against the network that it was exported from and, if it passes, writes the proof into it.

    Every graph is measured: that over padded rows, which also gives the golden rows, the packed ones, and those in
    int8, each against its own tolerance, which in int8 is bounded. Of a model that writes token by token, whole texts
    are written through its graphs.
    Where batched and padded does not equal alone within the tolerance, the candidate passes as one whose rows are to
    be run alone: see `BatchingSpec.invariant`.
    A candidate that failed holds no proof, not even an older one.
    Raises CandidateUnusable if the candidate cannot be read or run, CheckpointUnusable if the checkpoint has no samples
    or one that the codec cannot read, ParityFailed (with the report) if an output is over the tolerance.
    """
    manifest = _without_proof(read_candidate(bundle))
    write_manifest(bundle, manifest)
    if manifest.generation is not None:
        report, golden, proven = verify_stepwise(trained, bundle, manifest)
        write_manifest(bundle, _with_proof(bundle, manifest.model_copy(update={"graphs": proven}), report, golden))
        return report
    samples = sample_rows(trained, bundle)
    report, golden = _verify_rows(trained, bundle, manifest.graphs[0], samples)
    packed = [graph for graph in manifest.graphs if graph.layout != "rows" and graph.precision == "fp32"]
    if packed:
        report = report.model_copy(update={"packed": _verify_packed(trained, bundle, packed, samples)})
        judge(report)
    proven = tuple(_verify_quantised(trained, bundle, graph, samples, report) for graph in manifest.graphs)
    write_manifest(bundle, _with_proof(bundle, manifest.model_copy(update={"graphs": proven}), report, golden))
    return report


def _verify_rows(trained: Trained, bundle: Path, graph: GraphSpec, samples: Sequence[Row]) -> tuple[ParityReport, str]:
    """The report on the graph over padded rows, and the golden file that was made with it."""
    inputs = trained.signature.inputs
    with opened(bundle, graph) as session:
        made_up = generated_cases(samples, inputs, trained.record.seed, trained.signature.example_length)
        report = measure_parity(trained, session, chain(sample_cases(samples, inputs), made_up), graph.tolerance)
        judge(report)
        return report, write_golden(bundle, session, samples)


def _verify_packed(
    trained: Trained, bundle: Path, graphs: Sequence[GraphSpec], samples: Sequence[Row]
) -> tuple[PackedParity, ...]:
    mixes = packed_mixes(trained, samples, trained.record.seed)
    measured: list[PackedParity] = []
    for graph in graphs:
        with opened(bundle, graph) as session:
            measured.append(measure_packed(trained, graph, session, mixes))
    return tuple(measured)


def _verify_quantised(
    trained: Trained, bundle: Path, graph: GraphSpec, samples: Sequence[Row], report: ParityReport
) -> GraphSpec:
    """The graph with its parity, if it is in int8; any other as it is. `report` is on the graphs in fp32."""
    if graph.precision != "int8":
        return graph
    with opened(bundle, graph) as session:
        return prove_quantised(trained, graph, session, samples, report)


def _without_proof(manifest: Manifest) -> Manifest:
    graphs = tuple(without_parity(graph) for graph in manifest.graphs)
    return manifest.model_copy(update={"graphs": graphs, "parity": None, "golden": None, "files": {}})


def _with_proof(bundle: Path, manifest: Manifest, report: ParityReport, golden: str) -> Manifest:
    present = {path.name for path in bundle.iterdir() if path.is_file()} - {MANIFEST_FILE}
    return manifest.model_copy(
        update={
            "parity": report,
            "golden": golden,
            "batching": manifest.batching.model_copy(update={"invariant": is_invariant(report)}),
            "files": digests(bundle, present),
        }
    )
