"""How to read a parity report."""

from server.manifest import PackedParity, ParityReport, QualityDrop


def is_invariant(report: ParityReport) -> bool:
    """Whether a row's answer stayed the same, within the tolerance, in whatever batch it ran."""
    return report.batched_equals_alone_max_error <= report.tolerance


def failed_outputs(report: ParityReport | PackedParity) -> tuple[str, ...]:
    """The outputs that are further off than the tolerance; packed graphs have reports of their own."""
    return tuple(parity.output for parity in report.outputs if parity.max_error > report.tolerance)


def largest_error(report: ParityReport | PackedParity) -> float:
    """The largest error over all outputs."""
    return max(parity.max_error for parity in report.outputs)


def stated_drop(quality: QualityDrop) -> str:
    """What a graph in fewer bits lost, and what it was allowed to lose."""
    return (
        f"{quality.metric} {quality.value:.4f} on {quality.examples} examples, {quality.source_value:.4f} in fp32: "
        f"a drop of {quality.drop:.4f}, where {quality.largest_drop:.4f} is allowed"
    )
