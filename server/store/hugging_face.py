"""Hugging Face exports: `model.onnx` with the `tokenizer.json` and `config.json` that the library writes beside it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from server.errors import ArtifactCorrupt
from server.manifest import (
    Axis,
    FixedAxis,
    FreeAxis,
    GraphSpec,
    InputSpec,
    LengthAxis,
    Manifest,
    OutputRole,
    OutputSpec,
    RowAxis,
    Task,
    TextCodecSpec,
)
from server.runtime.session import GraphTensor
from server.store.paths import inside_file, read_text_file
from server.store.signature import specs_of
from server.tensors import Datatype

CONFIG_FILE = "config.json"
TOKENIZER_FILE = "tokenizer.json"
TOKENIZER_CONFIG_FILE = "tokenizer_config.json"
DEFAULT_MAX_LENGTH = 512
"""Where neither file bounds the length: what most encoders were trained on."""

_IDS, _MASK, _TYPES = "input_ids", "attention_mask", "token_type_ids"
# Their position ids start after the padding id, so that so many rows of the position table are never a token's.
_OFFSET_POSITIONS = frozenset({"roberta", "xlm-roberta", "camembert", "mpnet", "longformer", "xlm-roberta-xl"})
_TASKS: tuple[tuple[str, Task], ...] = (
    ("ForSequenceClassification", "text-classification"),
    ("ForTokenClassification", "token-classification"),
)


def is_hugging_face(directory: Path) -> bool:
    """Whether the folder holds what the library writes."""
    return (directory / CONFIG_FILE).exists() and (directory / TOKENIZER_FILE).exists()


def hugging_face_manifest(
    store: Path,
    directory: Path,
    model: str,
    graph: GraphSpec,
    inputs: Sequence[GraphTensor],
    outputs: Sequence[GraphTensor],
) -> tuple[Manifest, tuple[str, ...]]:
    """The manifest of an export and its labels.

    A graph that takes more than one text's tokens (a decoder with its past, a model of images) is served as bare
    tensors, without a codec.

    Raises ArtifactCorrupt if one of its JSON files is malformed.
    """
    config = _json_object(store, directory / CONFIG_FILE)
    if not _encodes_text(inputs):
        input_specs, output_specs = specs_of(inputs, outputs)
        return Manifest(name=model, task="tensors", graphs=(graph,), inputs=input_specs, outputs=output_specs), ()
    inside_file(store, directory / TOKENIZER_FILE)
    max_length = _max_length(config, _tokenizer_config(store, directory))
    length = LengthAxis(max=max_length)
    names = {tensor.name for tensor in inputs}
    task = _task(config, outputs)
    labels = _labels(config) if task in dict(_TASKS).values() else ()
    manifest = Manifest(
        name=model,
        task=task,
        graphs=(graph,),
        inputs=tuple(_input(tensor, length, config) for tensor in inputs),
        outputs=tuple(_output(tensor, length, _symbol(inputs), outputs) for tensor in outputs),
        codec=TextCodecSpec(
            tokenizer=TOKENIZER_FILE,
            max_length=max_length,
            input_ids=_IDS,
            mask=_MASK if _MASK in names else None,
            token_type_ids=_TYPES if _TYPES in names else None,
        ),
    )
    return manifest, labels


def _encodes_text(inputs: Sequence[GraphTensor]) -> bool:
    """Whether the inputs are what a text codec fills: ids, perhaps a mask and types, all [row, length] of int64."""
    names = {tensor.name for tensor in inputs}
    return _IDS in names <= {_IDS, _MASK, _TYPES} and all(
        tensor.datatype is Datatype.INT64
        and len(tensor.shape) == 2
        and not any(isinstance(size, int) for size in tensor.shape)
        for tensor in inputs
    )


def _symbol(inputs: Sequence[GraphTensor]) -> int | str | None:
    return next(tensor.shape[1] for tensor in inputs if tensor.name == _IDS)


def _input(tensor: GraphTensor, length: LengthAxis, config: dict[str, Any]) -> InputSpec:
    pad = config.get("pad_token_id") if tensor.name == _IDS else 0
    return InputSpec(
        name=tensor.name,
        datatype=tensor.datatype,
        axes=(RowAxis(), length),
        pad=pad if isinstance(pad, int) else 0,
        role="mask" if tensor.name == _MASK else "data",
        optional=tensor.name != _IDS,
    )


def _output(
    tensor: GraphTensor, length: LengthAxis, symbol: int | str | None, outputs: Sequence[GraphTensor]
) -> OutputSpec:
    axes: list[Axis] = []
    for position, size in enumerate(tensor.shape):
        # Where the export forgot the symbol, the second of three axes is still the tokens': there is no other layout.
        per_token = (symbol is not None and size == symbol) or (position == 1 and len(tensor.shape) == 3)
        if position == 0:
            axes.append(RowAxis())
        elif isinstance(size, int):
            axes.append(FixedAxis(size=size))
        else:
            axes.append(length if per_token else FreeAxis())
    return OutputSpec(
        name=tensor.name, datatype=tensor.datatype, axes=tuple(axes), role=_role(tensor.name, [o.name for o in outputs])
    )


def _role(name: str, names: Sequence[str]) -> OutputRole:
    if name == "logits":
        return "logits"
    embedding = "sentence_embedding" if "sentence_embedding" in names else "last_hidden_state"
    return "embedding" if name == embedding else "data"


def _task(config: dict[str, Any], outputs: Sequence[GraphTensor]) -> Task:
    architectures = config.get("architectures")
    names = {tensor.name for tensor in outputs}
    for architecture in architectures if isinstance(architectures, list) else []:
        for ending, task in _TASKS:
            if str(architecture).endswith(ending) and "logits" in names:
                return task
    return "embedding" if names & {"last_hidden_state", "sentence_embedding"} else "tensors"


def _max_length(config: dict[str, Any], tokenizer_config: dict[str, Any]) -> int:
    positions = config.get("max_position_embeddings")
    bounds = []
    if isinstance(positions, int) and positions > 0:
        padding = config.get("pad_token_id")
        offset = config.get("model_type") in _OFFSET_POSITIONS
        bounds.append(positions - (padding if isinstance(padding, int) else 1) - 1 if offset else positions)
    declared = tokenizer_config.get("model_max_length")
    # The library writes an integer of 1e30 where the tokenizer knows no bound.
    if isinstance(declared, int) and 0 < declared < 10**9:
        bounds.append(declared)
    return max(1, min(bounds, default=DEFAULT_MAX_LENGTH))


def _labels(config: dict[str, Any]) -> tuple[str, ...]:
    """The class names of `id2label`, by index."""
    by_id = config.get("id2label")
    if by_id is None:
        return ()
    names = by_id if isinstance(by_id, dict) else {}
    expected = [str(index) for index in range(len(names))]
    if not names or set(names) != set(expected) or not all(isinstance(name, str) for name in names.values()):
        raise ArtifactCorrupt(f"{CONFIG_FILE}: id2label does not give a name to each index from 0 on")
    return tuple(names[index] for index in expected)


def _tokenizer_config(store: Path, directory: Path) -> dict[str, Any]:
    path = directory / TOKENIZER_CONFIG_FILE
    return _json_object(store, path) if path.exists() else {}


def _json_object(store: Path, path: Path) -> dict[str, Any]:
    try:
        document = from_json(read_text_file(store, path))
    except ValueError as error:
        raise ArtifactCorrupt(f"{path.name} is not JSON") from error
    if not isinstance(document, dict):
        raise ArtifactCorrupt(f"{path.name} is not a JSON object")
    return document
