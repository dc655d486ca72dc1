"""What the protocol tells about a model: its metadata and the repository's index."""

from collections.abc import Iterable

from server.manifest import Axis, InputSpec, Manifest, OutputSpec, RowAxis
from server.rpc.open_inference.written import written_outputs
from server.servable import Servable
from server.tensors import Datatype
from server.versions import IndexEntry, VersionState
from server.wire import grpc_service_pb2 as wire

PLATFORM = "onnxruntime_onnx"
"""Triton's name for a model that ONNX Runtime runs, by which clients know what they talk to."""


def model_metadata(servable: Servable, index: Iterable[IndexEntry]) -> wire.ModelMetadataResponse:
    """Name, ready versions and tensors; the batch dimension and every growing one are -1.

    Of a model that writes: what it is asked with, a text where it has a codec, and the outputs of what is written.
    """
    manifest = servable.manifest
    ready = [entry for entry in index if entry.name == servable.name and entry.state is VersionState.READY]
    return wire.ModelMetadataResponse(
        name=servable.name,
        versions=[str(entry.version) for entry in ready],
        platform=PLATFORM,
        inputs=[_tensor(spec) for spec in told_inputs(manifest)],
        outputs=[_tensor(spec) for spec in told_outputs(manifest)],
    )


def told_inputs(manifest: Manifest) -> tuple[InputSpec, ...]:
    """The inputs that a client should send."""
    if manifest.generation is None or manifest.codec is None:
        return manifest.inputs
    return (InputSpec(name=manifest.codec.kind, datatype=Datatype.BYTES, axes=(RowAxis(),)),)


def told_outputs(manifest: Manifest) -> tuple[OutputSpec, ...]:
    """The outputs that a client may name."""
    return manifest.outputs if manifest.generation is None else written_outputs(manifest)


def dimensions(axes: Iterable[Axis]) -> list[int]:
    """The size of each axis, -1 where requests may differ."""
    return [axis.size if axis.kind == "fixed" else -1 for axis in axes]


def repository_index(entries: Iterable[IndexEntry], *, ready_only: bool) -> wire.RepositoryIndexResponse:
    """Every version with its state, and its reason where there is one."""
    return wire.RepositoryIndexResponse(
        models=[
            wire.RepositoryIndexResponse.ModelIndex(
                name=entry.name, version=str(entry.version), state=entry.state.value, reason=entry.reason
            )
            for entry in entries
            if not ready_only or entry.state is VersionState.READY
        ]
    )


def _tensor(spec: InputSpec | OutputSpec) -> wire.ModelMetadataResponse.TensorMetadata:
    return wire.ModelMetadataResponse.TensorMetadata(
        name=spec.name, datatype=spec.datatype.value, shape=dimensions(spec.axes)
    )
