"""Loads one version off the serving path: verify, open, warm; what comes out is ready for its first request."""

from dataclasses import dataclass
from pathlib import Path

from server.codecs import build_codec
from server.codecs.codec import CodecLimits
from server.errors import ArtifactCorrupt
from server.manifest import GraphSpec, Manifest
from server.runtime.golden import replay
from server.runtime.session import Session
from server.servable import LoadedVersion
from server.store.bundle import Bundle, open_bundle


@dataclass(frozen=True)
class Loader:
    """Loads versions of one store; `load` blocks and may run in several threads at once."""

    store: Path
    max_bundle_bytes: int
    limits: CodecLimits
    intra_op_threads: int
    replay_golden: bool

    def load(self, model: str, version: int) -> LoadedVersion:
        """Verifies the bundle, opens its graph and codec, and replays its golden inputs.

        Raises ArtifactCorrupt, with the reason, where any of it fails.
        """
        bundle = open_bundle(self.store, model, version, max_bytes=self.max_bundle_bytes)
        graph = serving_graph(bundle.manifest)
        session = Session.open(
            bundle.graph_path(graph), intra_op_threads=self.intra_op_threads, sha256=bundle.sha256(graph.file)
        )
        try:
            check_signature(bundle.manifest, session)
            codec = build_codec(bundle.manifest.codec, bundle.directory, self.limits) if bundle.manifest.codec else None
            if self.replay_golden:
                _replay(bundle, graph, session)
        except BaseException:
            session.close()
            raise
        return LoadedVersion(bundle, session, codec)


def serving_graph(manifest: Manifest) -> GraphSpec:
    """The graph that answers requests: the first plain fp32 one in rows.

    Raises ArtifactCorrupt where the bundle has none.
    """
    for graph in manifest.graphs:
        if graph.role == "run" and graph.layout == "rows" and graph.precision == "fp32":
            return graph
    raise ArtifactCorrupt("the bundle has no fp32 graph in rows to run")


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


def _replay(bundle: Bundle, graph: GraphSpec, session: Session) -> None:
    """A host that answers differently from the one that verified the bundle must not get ready."""
    if bundle.manifest.golden is not None:
        replay(bundle.directory / bundle.manifest.golden, session, graph.tolerance)
