"""Which file of a published shape an arm runs: the same one in ours, in every peer and in every plan."""

from pathlib import Path

from benchmarks.peers.adapter import PeerUnavailable
from benchmarks.shapes.publish import NOOP, graph_of, published
from server.manifest import MANIFEST_FILE, parse_manifest


def graph_file(shape: str, precision: str, cache: Path, layout: str = "rows") -> Path:
    """The ONNX file of a shape in a precision and a layout, as its manifest names it.

    There is none in bf16: that is the fp32 graph, on a provider that computes so.
    Raises PeerUnavailable where the bundle has no such graph.
    """
    if shape == NOOP:
        return graph_of(shape, cache)
    folder = published(shape, cache) / shape / "1"
    wanted = "fp32" if precision == "bf16" else precision
    for spec in parse_manifest((folder / MANIFEST_FILE).read_bytes()).graphs:
        if (spec.role, spec.layout, spec.precision) == ("run", layout, wanted):
            return folder / spec.file
    raise PeerUnavailable(f"the bundle of {shape} has no graph in {wanted} of the layout {layout}")
