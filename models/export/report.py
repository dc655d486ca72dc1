"""How to read a parity report."""

from server.manifest import ParityReport


def is_invariant(report: ParityReport) -> bool:
    """Whether a row's answer stayed the same, within the tolerance, in whatever batch it ran."""
    return report.batched_equals_alone_max_error <= report.tolerance


def failed_outputs(report: ParityReport) -> tuple[str, ...]:
    """The outputs that are further off than the tolerance."""
    return tuple(parity.output for parity in report.outputs if parity.max_error > report.tolerance)


def largest_error(report: ParityReport) -> float:
    """The largest error over all outputs."""
    return max(parity.max_error for parity in report.outputs)
