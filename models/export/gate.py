"""What a bundle must have earned before it is published."""

from collections.abc import Mapping

from models.export.failure import PublishRefused
from models.export.report import failed_outputs, stated_drop
from server.manifest import GraphSpec, Manifest, PackedParity, QualityReport
from server.packed import packed_outputs


def check_earned(manifest: Manifest) -> None:
    """Lets a bundle pass whose quality and parity are measured and good enough.

    What quality is required is the task's to say; more than the baseline, where it says so, is in that number. A
    network without weights has none: its record says so, and loading it has checked that.
    Raises PublishRefused if quality is missing or below what is required, or if parity is missing, over its tolerance,
    measured against a laxer tolerance than the graph's, or silent on an output or on a packed graph; or if a graph in
    int8 was not verified, or lost more than it was allowed.
    """
    _check_quality(manifest)
    _check_parity(manifest)


def _check_quality(manifest: Manifest) -> None:
    quality = manifest.quality
    if quality is None and manifest.provenance is not None and manifest.provenance.data is None:
        return  # nothing was learned: parity is all that there is to earn
    if quality is None:
        raise PublishRefused(f"{manifest.name} has no quality report: its training did not measure any")
    if not quality.met:
        side = "below" if quality.higher_is_better else "above"
        raise PublishRefused(f"{manifest.name}: {_stated(quality)} is {side} the required {quality.required:.4f}")


def _check_parity(manifest: Manifest) -> None:
    parity = manifest.parity
    if parity is None or not {graph.file for graph in manifest.graphs} <= manifest.files.keys():
        raise PublishRefused(
            f"{manifest.name} is not verified: run `python -m models verify {manifest.name}` and see it pass"
        )
    unmeasured = {spec.name for spec in manifest.outputs} - {measured.output for measured in parity.outputs}
    if unmeasured:
        raise PublishRefused(f"{manifest.name}: verification did not measure {', '.join(sorted(unmeasured))}")
    padded = [graph for graph in manifest.graphs if graph.packed is None]
    laxer = [graph.file for graph in padded if parity.tolerance > graph.tolerance]
    failed = failed_outputs(parity)
    if laxer or failed:
        raise PublishRefused(f"{manifest.name} failed verification: {', '.join(laxer or failed)} is over the tolerance")
    _check_packed(manifest, {packed.file: packed for packed in parity.packed})
    for graph in manifest.graphs:
        if graph.precision == "int8":
            _check_quantised(manifest, graph)


def _check_packed(manifest: Manifest, measured: Mapping[str, PackedParity]) -> None:
    offered = {spec.name for spec in packed_outputs(manifest.outputs)}
    for graph in manifest.graphs:
        if graph.packed is None or graph.precision != "fp32":
            continue
        parity = measured.get(graph.file)
        if parity is None or offered - {one.output for one in parity.outputs}:
            raise PublishRefused(f"{manifest.name}: verification did not measure {graph.file}")
        if parity.tolerance > graph.tolerance or failed_outputs(parity):
            raise PublishRefused(f"{manifest.name} failed verification: {graph.file} is over the tolerance")


def _check_quantised(manifest: Manifest, graph: GraphSpec) -> None:
    report = graph.quantisation
    if report is None or _answers(manifest, graph) - {one.output for one in report.parity}:
        raise PublishRefused(f"{manifest.name}: verification did not measure {graph.file}")
    if not all(one.max_error <= graph.tolerance for one in report.parity):
        raise PublishRefused(f"{manifest.name} failed verification: {graph.file} is over the tolerance")
    if report.quality is not None and report.quality.excessive:
        raise PublishRefused(f"{manifest.name}: {graph.file} reaches {stated_drop(report.quality)}")


def _answers(manifest: Manifest, graph: GraphSpec) -> set[str]:
    """The outputs of a graph that must have been measured; a step's states are in what it writes."""
    if graph.role == "encode":
        return {state.source for state in manifest.states if state.source is not None}
    outputs = manifest.outputs if graph.packed is None else packed_outputs(manifest.outputs)
    without_maps = graph.role == "step" and not graph.maps
    return {spec.name for spec in outputs if not (without_maps and spec.role == "attention")}


def _stated(quality: QualityReport) -> str:
    stated = f"{quality.metric} {quality.value:.4f} on {quality.examples} examples"
    if quality.baseline is None:
        return stated
    return f"{stated} (baseline, {quality.baseline.name}: {quality.baseline.value:.4f})"
