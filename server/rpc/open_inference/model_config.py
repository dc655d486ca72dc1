"""A model's configuration in Triton's terms, made from its manifest and the deployment's settings."""

from server.manifest import InputSpec, Manifest, OutputSpec
from server.rpc.open_inference.metadata import PLATFORM, dimensions, told_inputs, told_outputs
from server.rpc.open_inference.parameters import DEFAULT_PRIORITY_LEVEL, PRIORITY_LEVELS
from server.servable import Servable
from server.settings import StoreSettings
from server.tensors import Datatype
from server.wire import model_config_pb2 as wire

BACKEND = "onnxruntime"


def model_config(servable: Servable, store: StoreSettings) -> wire.ModelConfig:
    """The configuration; `dims` leave out the batch dimension where `max_batch_size` is not 0.

    `parameters` state what Triton has no field for: `task`, `codec_input` (the name of the BYTES input that a caller
    may send instead of tensors), `attention` (the outputs with attention weights), `aliases`, `verified`; and how the
    version runs: `precision` (the default), `precisions` (what a request may ask for), `variants` (layout, precision,
    graph, provider, threads, fitted cost of each), `precision_errors`, `calibrated`, and `served_alone` (the reason).
    """
    manifest = servable.manifest
    writes = manifest.generation is not None
    # A text is no row of a batch that the caller makes: shapes are told whole, as for max_batch_size 0.
    batched = manifest.batched and not writes
    skip = 1 if batched else 0
    return wire.ModelConfig(
        name=servable.name,
        platform=PLATFORM,
        backend=BACKEND,
        version_policy=_version_policy(store.version_policies.get(servable.name, store.version_policy)),
        max_batch_size=servable.max_rows if batched else 0,
        input=[_input(spec, skip) for spec in told_inputs(manifest)],
        output=[_output(spec, skip, manifest) for spec in told_outputs(manifest)],
        dynamic_batching=wire.ModelDynamicBatching(
            priority_levels=PRIORITY_LEVELS, default_priority_level=DEFAULT_PRIORITY_LEVEL
        ),
        instance_group=[
            wire.ModelInstanceGroup(name=servable.name, kind=_instance_kind(servable.provider), count=servable.sessions)
        ],
        model_transaction_policy=wire.ModelTransactionPolicy(decoupled=True) if writes else None,
        default_model_filename=manifest.graphs[0].file,
        parameters={name: wire.ModelParameter(string_value=text) for name, text in _parameters(servable).items()},
    )


def data_type(datatype: Datatype) -> str:
    """Triton's name for a datatype; BYTES is called STRING there."""
    return "TYPE_STRING" if datatype is Datatype.BYTES else f"TYPE_{datatype.value}"


def _input(spec: InputSpec, skip: int) -> wire.ModelInput:
    return wire.ModelInput(
        name=spec.name,
        data_type=data_type(spec.datatype),
        dims=dimensions(spec.axes)[skip:],
        allow_ragged_batch=any(axis.kind == "length" for axis in spec.axes),
        optional=spec.optional,
    )


def _output(spec: OutputSpec, skip: int, manifest: Manifest) -> wire.ModelOutput:
    classes = spec.role in ("logits", "probabilities")
    return wire.ModelOutput(
        name=spec.name,
        data_type=data_type(spec.datatype),
        dims=dimensions(spec.axes)[skip:],
        label_filename=manifest.labels or "" if classes else "",
    )


def _version_policy(text: str) -> wire.ModelVersionPolicy:
    kind, _, argument = text.partition(":")
    if kind == "all":
        return wire.ModelVersionPolicy(all=wire.ModelVersionPolicy.All())
    if kind == "latest":
        return wire.ModelVersionPolicy(latest=wire.ModelVersionPolicy.Latest(num_versions=int(argument)))
    versions = [int(number) for number in argument.split(",")]
    return wire.ModelVersionPolicy(specific=wire.ModelVersionPolicy.Specific(versions=versions))


def _instance_kind(provider: str) -> "wire.ModelInstanceGroup.Kind":
    kinds = wire.ModelInstanceGroup
    return kinds.KIND_GPU if provider.startswith(("CUDA", "Tensorrt")) else kinds.KIND_CPU


def _parameters(servable: Servable) -> dict[str, str]:
    manifest = servable.manifest
    found = {
        "task": manifest.task,
        "codec_input": manifest.codec.kind if manifest.codec else "",
        "attention": ",".join(spec.name for spec in manifest.outputs if spec.role == "attention"),
        "aliases": ",".join(servable.aliases),
        "verified": _told(servable.verified),
        **servable.told(),
    }
    return {name: text for name, text in found.items() if text}


def _told(truth: bool) -> str:
    return "true" if truth else "false"
