"""Triton model repositories: a `config.pbtxt` beside the version folders says what the graph takes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from google.protobuf import text_format
from google.protobuf.message import Message

from server.errors import ArtifactCorrupt
from server.manifest import Axis, BatchingSpec, FixedAxis, FreeAxis, GraphSpec, InputSpec, Manifest, OutputSpec, RowAxis
from server.runtime.session import GraphTensor
from server.store.paths import read_text_file
from server.store.signature import specs_of
from server.tensors import Datatype
from server.wire.model_config_pb2 import DataType, ModelConfig, ModelInput, ModelOutput

CONFIG_FILE = "config.pbtxt"
_PLATFORM = "onnxruntime_onnx"
_BACKEND = "onnxruntime"
_DATATYPES = {f"TYPE_{datatype}": datatype for datatype in Datatype} | {"TYPE_STRING": Datatype.BYTES}

# Features that change what a request means; leaving one out silently would answer wrongly.
_REFUSED_CONFIG = frozenset({"sequence_batching", "ensemble_scheduling", "batch_input", "batch_output"})
_REFUSED_TENSOR = frozenset({"reshape", "allow_ragged_batch", "is_shape_tensor", "is_non_linear_format_io", "optional"})


@dataclass(frozen=True, slots=True)
class TritonModel:
    """What a configuration says, as far as it is served."""

    config: ModelConfig
    graph_file: str
    label_file: str | None


def read_config(store: Path, model_directory: Path, model: str) -> TritonModel:
    """Reads `config.pbtxt`.

    Raises ArtifactCorrupt if it is malformed, of another platform, or asks for what this server does not do.
    """
    config = _parse(store, model_directory)
    if config.name and config.name != model:
        raise ArtifactCorrupt(f"{CONFIG_FILE} is of model {config.name}, but its folder is {model}")
    for found, served in ((config.platform, _PLATFORM), (config.backend, _BACKEND)):
        if found not in ("", served):
            raise ArtifactCorrupt(f"{CONFIG_FILE}: {found} is not served; only {served} is")
    _refuse(config, _REFUSED_CONFIG, CONFIG_FILE)
    if config.model_transaction_policy.decoupled:
        raise ArtifactCorrupt(f"{CONFIG_FILE}: decoupled transactions are not supported")
    if config.max_batch_size < 0:
        raise ArtifactCorrupt(f"{CONFIG_FILE}: max_batch_size is negative")
    labels = sorted({output.label_filename for output in config.output if output.label_filename})
    if len(labels) > 1:
        raise ArtifactCorrupt(f"{CONFIG_FILE}: outputs with different labels are not supported")
    graph_file = config.default_model_filename or "model.onnx"
    for name in (graph_file, *labels):
        if Path(name).name != name or name.startswith("."):
            raise ArtifactCorrupt(f"{CONFIG_FILE}: {name!r} is not a plain file name")
    return TritonModel(config, graph_file, labels[0] if labels else None)


def read_version_policy(store: Path, model_directory: Path) -> str | None:
    """The version policy that `config.pbtxt` asks for, as the settings would write it; None where it asks for none.

    Raises ArtifactCorrupt if it is malformed.
    """
    policy = _parse(store, model_directory).version_policy
    kind = policy.WhichOneof("policy_choice")
    if kind == "all":
        return "all"
    if kind == "latest":
        return f"latest:{max(policy.latest.num_versions, 1)}"
    if kind == "specific":
        if not policy.specific.versions or min(policy.specific.versions) < 1:
            raise ArtifactCorrupt(f"{CONFIG_FILE}: version_policy names no version, or one that cannot exist")
        return "specific:" + ",".join(str(version) for version in policy.specific.versions)
    return None


def triton_manifest(
    model: str, triton: TritonModel, inputs: Sequence[GraphTensor], outputs: Sequence[GraphTensor], opset: int
) -> Manifest:
    """The manifest of a graph that a Triton configuration describes; what that leaves out is the graph's own.

    Raises ArtifactCorrupt where the configuration and the graph disagree.
    """
    config = triton.config
    batched = config.max_batch_size > 0
    input_specs, output_specs = specs_of(inputs, outputs)
    if batched or config.input or config.output:
        if config.input:
            _check_all_fed([tensor.name for tensor in config.input], inputs)
        input_specs = tuple(
            InputSpec(name=tensor.name, datatype=tensor.datatype, axes=axes)
            for tensor, axes in _described("input", config.input, inputs, batched=batched)
        )
        output_specs = tuple(
            OutputSpec(name=tensor.name, datatype=tensor.datatype, axes=axes)
            for tensor, axes in _described("output", config.output, outputs, batched=batched)
        )
    return Manifest(
        name=model,
        task="tensors",
        graphs=(GraphSpec(file=triton.graph_file, opset=opset),),
        inputs=input_specs,
        outputs=output_specs,
        batching=BatchingSpec(max_rows=config.max_batch_size or None),
    )


def _parse(store: Path, model_directory: Path) -> ModelConfig:
    content = read_text_file(store, model_directory / CONFIG_FILE)
    try:
        return text_format.Parse(content.decode(), ModelConfig())
    except UnicodeDecodeError as error:
        raise ArtifactCorrupt(f"{CONFIG_FILE} is not UTF-8") from error
    except (text_format.ParseError, ValueError, RecursionError) as error:
        line = getattr(error, "GetLine", lambda: None)()
        where = f" at line {line}" if line else ""
        raise ArtifactCorrupt(f"{CONFIG_FILE} does not read as a model configuration{where}") from error


def _refuse(message: Message, features: frozenset[str], where: str) -> None:
    for field, _ in message.ListFields():
        if field.name in features:
            raise ArtifactCorrupt(f"{where}: {field.name} is not supported")


def _check_all_fed(configured: Sequence[str], inputs: Sequence[GraphTensor]) -> None:
    missing = sorted({tensor.name for tensor in inputs} - set(configured))
    if missing:
        raise ArtifactCorrupt(f"{CONFIG_FILE} leaves out inputs of the graph: {', '.join(missing)}")


def _described(
    kind: str, configured: Sequence[ModelInput | ModelOutput], graph: Sequence[GraphTensor], *, batched: bool
) -> Iterator[tuple[GraphTensor, tuple[Axis, ...]]]:
    """The tensors to serve, with their axes; those of the graph where the configuration lists none of this kind."""
    known = {tensor.name: tensor for tensor in graph}
    if not configured:
        yield from ((tensor, _axes(kind, tensor, None, batched=batched)) for tensor in graph)
    for entry in configured:
        tensor = known.get(entry.name)
        if tensor is None:
            raise ArtifactCorrupt(f"{CONFIG_FILE} names {kind} {entry.name!r}; the graph has {', '.join(known)}")
        _refuse(entry, _REFUSED_TENSOR, f"{CONFIG_FILE}: {kind} {entry.name}")
        type_name = DataType.Name(entry.data_type)
        if _DATATYPES.get(type_name) is not tensor.datatype:
            raise ArtifactCorrupt(
                f"{CONFIG_FILE}: {kind} {entry.name} is {type_name}, but {tensor.datatype} in the graph"
            )
        yield tensor, _axes(kind, tensor, entry.dims, batched=batched)


def _axes(kind: str, tensor: GraphTensor, dims: Sequence[int] | None, *, batched: bool) -> tuple[Axis, ...]:
    """The axes of one tensor; `dims` leaves out the batch axis, which the configuration only implies."""
    shape = tensor.shape
    if batched:
        if not shape or isinstance(shape[0], int):
            raise ArtifactCorrupt(f"{CONFIG_FILE} sets max_batch_size, but {kind} {tensor.name} has no batch axis")
        shape = shape[1:]
    if dims is None:
        dims = _shown(shape)
    agree = len(dims) == len(shape) and all(
        dim > 0 or dim == -1 if not isinstance(size, int) else dim == size
        for dim, size in zip(dims, shape, strict=True)
    )
    if not agree:
        raise ArtifactCorrupt(
            f"{CONFIG_FILE}: {kind} {tensor.name} has dims {list(dims)}, but the graph has {_shown(shape)}"
        )
    own = tuple(FreeAxis() if dim == -1 else FixedAxis(size=dim) for dim in dims)
    return (RowAxis(), *own) if batched else own


def _shown(shape: Sequence[int | str | None]) -> list[int]:
    return [size if isinstance(size, int) else -1 for size in shape]
