"""What all kinds of verification share: sessions that must open and run, and the verdict on what was measured."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from models.export.failure import CandidateUnusable, ParityFailed
from models.export.report import failed_outputs, largest_error
from server.errors import ArtifactCorrupt, InferenceFailed
from server.manifest import GraphSpec, ParityReport
from server.runtime.session import Session


@contextmanager
def opened(bundle: Path, graph: GraphSpec) -> Iterator[Session]:
    """A session on a graph of the bundle; raises CandidateUnusable if it does not open, or fails at a run."""
    try:
        session = Session.open(bundle / graph.file)
    except ArtifactCorrupt as error:
        raise CandidateUnusable(f"{bundle / graph.file}: {error.message}") from error
    try:
        yield session
    except InferenceFailed as error:
        raise CandidateUnusable(f"{graph.file} cannot be run: {error.message}") from error
    finally:
        session.close()


def judge(report: ParityReport) -> None:
    """Raises ParityFailed, with the report, if an output is over its tolerance, or a row alone is no answer at all."""
    failed = failed_outputs(report)
    if failed:
        raise ParityFailed(
            f"ONNX Runtime differs from PyTorch by up to {largest_error(report):.2e}, "
            f"over the tolerance of {report.tolerance:.0e}, in {', '.join(failed)}",
            report,
        )
    for packed in report.packed:
        failed = failed_outputs(packed)
        if failed:
            raise ParityFailed(
                f"{packed.file} differs from PyTorch by up to {largest_error(packed):.2e}, "
                f"over the tolerance of {packed.tolerance:.0e}, in {', '.join(failed)}",
                report,
            )
    if not math.isfinite(report.batched_equals_alone_max_error):
        raise ParityFailed("a row run alone gives values that are not finite, or of another shape", report)
