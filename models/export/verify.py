"""Proves a candidate: what ONNX Runtime answers is what PyTorch answers, alone and in any batch.

A candidate that passes gets the parity report, golden rows and the digests of all files that were verified.
"""

import math
from itertools import chain
from pathlib import Path

from models.export.bundle import read_candidate, write_manifest
from models.export.cases import generated_cases, sample_cases, sample_rows
from models.export.digest import digests
from models.export.failure import CandidateUnusable, ParityFailed
from models.export.golden import write_golden
from models.export.parity import measure_parity
from models.export.report import failed_outputs, is_invariant, largest_error
from models.export.trained import Trained
from server.errors import ArtifactCorrupt, InferenceFailed
from server.manifest import MANIFEST_FILE, Manifest, ParityReport
from server.runtime.session import Session


def verify_candidate(trained: Trained, bundle: Path) -> ParityReport:
    """Measures a candidate against the network that it was exported from and, if it passes, writes the proof into it.

    Where batched and padded does not equal alone within the tolerance, the candidate passes as one whose rows are to
    be run alone: see `BatchingSpec.invariant`.
    A candidate that failed holds no proof, not even an older one.
    Raises CandidateUnusable if the candidate cannot be read or run, CheckpointUnusable if the checkpoint has no samples
    or one that the codec cannot read, ParityFailed (with the report) if an output is over the tolerance.
    """
    manifest = _without_proof(read_candidate(bundle))
    write_manifest(bundle, manifest)
    graph = manifest.graphs[0]
    samples = sample_rows(trained, bundle)
    session = _open(bundle / graph.file)
    try:
        traced = trained.signature.example_length
        made_up = generated_cases(samples, manifest.inputs, trained.record.seed, traced)
        report = measure_parity(
            trained, session, chain(sample_cases(samples, manifest.inputs), made_up), graph.tolerance
        )
        _judge(report)
        golden = write_golden(bundle, session, samples)
    except InferenceFailed as error:
        raise CandidateUnusable(f"{graph.file} cannot be run: {error.message}") from error
    finally:
        session.close()
    write_manifest(bundle, _with_proof(bundle, manifest, report, golden))
    return report


def _judge(report: ParityReport) -> None:
    failed = failed_outputs(report)
    if failed:
        raise ParityFailed(
            f"ONNX Runtime differs from PyTorch by up to {largest_error(report):.2e}, "
            f"over the tolerance of {report.tolerance:.0e}, in {', '.join(failed)}",
            report,
        )
    if not math.isfinite(report.batched_equals_alone_max_error):
        raise ParityFailed("a row run alone gives values that are not finite, or of another shape", report)


def _open(path: Path) -> Session:
    try:
        return Session.open(path)
    except ArtifactCorrupt as error:
        raise CandidateUnusable(f"{path}: {error.message}") from error


def _without_proof(manifest: Manifest) -> Manifest:
    return manifest.model_copy(update={"parity": None, "golden": None, "files": {}})


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
