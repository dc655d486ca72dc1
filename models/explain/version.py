"""One published version, opened as the server opens it: digests checked, its own graph, its own codec."""

import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from models.explain.failure import NothingToExplain
from server.codecs import Codec, build_codec
from server.errors import ArtifactCorrupt, ModelNotFound, VersionNotFound
from server.manifest import MODEL_NAME_PATTERN, AttentionSpec, GraphSpec, Manifest, OutputSpec, TokenAxis
from server.runtime.session import Session
from server.store.aliases import read_aliases
from server.store.bundle import Bundle, open_bundle
from server.tensors import Array, Datatype

# What exporters call a layer's weights, for folders without a manifest: `attentions.0`, `encoder_attentions.0`.
_WEIGHTS_NAME = re.compile(r"(?P<group>.*attentions?)[._](?P<layer>[0-9]+)", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class Version:
    """A version with everything that answers a call."""

    bundle: Bundle
    graph: GraphSpec
    session: Session
    codec: Codec | None
    """None: the version takes tensors."""

    @property
    def manifest(self) -> Manifest:
        """The contract; for a folder without one, with the attention that its outputs' names tell of."""
        return self.bundle.manifest

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The graph's answer to one row. Raises InferenceFailed."""
        return self.session.run(inputs, [spec.name for spec in self.manifest.outputs])


@contextmanager
def opened_version(store: Path, model: str, version: int | None = None, alias: str | None = None) -> Iterator[Version]:
    """Opens a version by number or alias, by default the highest, and closes its session in the end.

    Raises ModelNotFound, VersionNotFound, ArtifactCorrupt, and NothingToExplain for a version that gives no attention
    weights.
    """
    number = find_version(store, model, version, alias)
    bundle = open_bundle(store, model, number, max_bytes=sys.maxsize)
    manifest = _with_attention(bundle.manifest)
    if not manifest.attention:
        raise NothingToExplain(f"{model} version {number} has no attention outputs: there are no weights to draw")
    graph = _graph(manifest)
    codec = None if manifest.codec is None else build_codec(manifest.codec, bundle.directory)
    session = Session.open(bundle.graph_path(graph), sha256=bundle.sha256(graph.file))
    try:
        yield Version(replace(bundle, manifest=manifest), graph, session, codec)
    finally:
        session.close()


def find_version(store: Path, model: str, version: int | None = None, alias: str | None = None) -> int:
    """The number that a version or an alias means; None of both: the highest.

    Raises ModelNotFound, VersionNotFound with those that there are, ArtifactCorrupt if the aliases cannot be read.
    """
    folder = store / model
    if not re.fullmatch(MODEL_NAME_PATTERN, model) or not folder.is_dir():
        raise ModelNotFound(f"{store} holds no model {model}")
    if alias is not None:
        targets = read_aliases(folder)
        if alias not in targets:
            raise VersionNotFound(f"{model} has no alias {alias}; it has {', '.join(sorted(targets)) or 'none'}")
        version = targets[alias].version
    names = (entry.name for entry in folder.iterdir() if entry.is_dir())
    there = sorted(int(name) for name in names if name.isascii() and name.isdecimal() and name[0] != "0")
    if not there:
        raise VersionNotFound(f"{model} has no version in {store}")
    if version is not None and version not in there:
        raise VersionNotFound(f"{model} has no version {version}; it has {', '.join(map(str, there))}")
    return there[-1] if version is None else version


def _graph(manifest: Manifest) -> GraphSpec:
    """The graph that serves: the first plain fp32 one in rows."""
    for graph in manifest.graphs:
        if graph.role == "run" and graph.layout == "rows" and graph.precision == "fp32":
            return graph
    raise ArtifactCorrupt("the bundle has no fp32 graph in rows to run")


def _with_attention(manifest: Manifest) -> Manifest:
    """The manifest, and for one that names no attention, as those made from bare folders, what the outputs tell."""
    if manifest.attention:
        return manifest
    groups: dict[str, dict[int, str]] = {}
    for spec in manifest.outputs:
        named = _WEIGHTS_NAME.fullmatch(spec.name)
        if named is not None and _holds_weights(spec):
            groups.setdefault(named["group"], {})[int(named["layer"])] = spec.name
    tokens = TokenAxis()
    specs = tuple(
        AttentionSpec(
            name=group,
            mechanism="attention",
            outputs=tuple(layers[number] for number in sorted(layers)),
            query=tokens,
            key=tokens,
        )
        for group, layers in groups.items()
    )
    return manifest.model_copy(update={"attention": specs})


def _holds_weights(spec: OutputSpec) -> bool:
    """Whether an output is [row, head, token, token]."""
    return (
        spec.datatype is Datatype.FP32
        and len(spec.axes) == 4
        and spec.axes[0].kind == "row"
        and all(axis.kind == "length" for axis in spec.axes[2:])
    )
