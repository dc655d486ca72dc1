"""The candidate bundle of an import: everything that will be published but for the proof that it is right.

<run>/bundle/
    manifest.json                no parity, no golden rows, no digests: verification adds them
    encode.onnx, step.onnx       what the export's three graphs become
    weights.bin                  where the weights are large: both graphs'
    tokenizer.json               of the source, and of the text where the two are the same
    target_tokenizer.json        of the text, where it has one of its own

It is written beside its place and moved there whole.
"""

import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import onnx_ir
from pydantic import ValidationError

from models.export.bundle import write_manifest
from models.export.face import Face, FaceInput, check_graph
from models.export.provenance import EXPORT_LIBRARIES, public_source
from models.export.strip import strip_origins
from models.export.weights import EMBEDDED_WEIGHTS_MAX_BYTES, SharedWeights
from models.importing.encode_graph import SOURCE_IDS, SOURCE_MASK, encode_graph, fold_unknown
from models.importing.failure import ImportRefused
from models.importing.folder import Export, known_words
from models.importing.generation import generation_spec, longest
from models.importing.onnx_graph import read_graph
from models.importing.states import SOURCE_AXIS, sources_of, states_of
from models.importing.step_graph import LOGITS, TOKENS, shape_step, token_input
from models.importing.text import Words, write_tokenizers
from models.provenance import library_versions
from server.manifest import (
    FixedAxis,
    GraphSpec,
    InputSpec,
    Manifest,
    OutputSpec,
    Provenance,
    RowAxis,
    StateSpec,
    Task,
    TextCodecSpec,
)
from server.tensors import Datatype

ENCODE_FILE, STEP_FILE = "encode.onnx", "step.onnx"
TOLERANCE = 1e-3
"""Of logits, which are tens in size: what rounding adds up to in float32 over a dozen layers stays well below it."""

_TASKS: dict[str, Task] = {
    "marian": "translation",
    "m2m_100": "translation",
    "nllb-moe": "translation",
    "mbart": "translation",
    "pegasus": "summarisation",
}
"""By the library's name of the architecture; every other one is known to write text."""


def import_candidate(
    export: Export,
    bundle: Path,
    *,
    name: str,
    task: Task | None = None,
    max_length: int | None = None,
    tolerance: float = TOLERANCE,
    embedded_max_bytes: int = EMBEDDED_WEIGHTS_MAX_BYTES,
) -> Manifest:
    """Makes a candidate of an export and writes it to `bundle`, in place of one that was there.

    `task`: None: what the architecture is known for. `max_length`: of source and text, in tokens; None: what the export
    says. Weights of more than `embedded_max_bytes` lie beside the graphs.
    Raises ImportRefused if the export cannot be served with the same answers, GraphInvalid if what was made of its
    graphs is not valid, ArtifactCorrupt if a file is no graph; a former candidate is then still there, untouched.
    """
    bundle.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{bundle.name}-", dir=bundle.parent))
    try:
        manifest = _fill(export, draft, name, task, longest(export, max_length), tolerance, embedded_max_bytes)
        write_manifest(draft, manifest)
        draft.chmod(0o755)
        if bundle.exists():
            shutil.rmtree(bundle)
        draft.rename(bundle)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return manifest


def _fill(
    export: Export, draft: Path, name: str, task: Task | None, max_length: int, tolerance: float, embedded: int
) -> Manifest:
    """Writes graphs and tokenizers, and returns the manifest that describes them."""
    step = read_graph(export.with_past)
    states = states_of(step.graph, token_input(step.graph))
    vocab_size = shape_step(step, states)
    encode = encode_graph(export, sources_of(states))
    known = known_words(export, vocab_size)
    words = write_tokenizers(export, draft, known)
    if words.unknown is not None:
        fold_unknown(encode, known, words.unknown)
    _save({ENCODE_FILE: encode, STEP_FILE: step}, draft, embedded)
    inputs = _inputs(export, max_length)
    check_graph(draft / ENCODE_FILE, _encode_face(encode, inputs, states))
    check_graph(draft / STEP_FILE, _step_face(step, states))
    opset = encode.opset_imports[""]
    try:
        return Manifest(
            name=name,
            task=task or _TASKS.get(export.model_type, "text-generation"),
            graphs=(
                GraphSpec(file=ENCODE_FILE, role="encode", opset=opset, tolerance=tolerance),
                GraphSpec(file=STEP_FILE, role="step", opset=step.opset_imports[""], tolerance=tolerance),
            ),
            inputs=inputs,
            outputs=(_logits(vocab_size),),
            states=states,
            generation=generation_spec(export, vocab_size=vocab_size, max_length=max_length, tokenizer=words.target),
            codec=_codec(words, max_length),
            provenance=_provenance(export),
        )
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ImportRefused(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def _save(models: dict[str, onnx_ir.Model], draft: Path, embedded_max_bytes: int) -> None:
    """Writes the graphs, weights within them, or in a file of both where they are large."""
    initializers = [value for model in models.values() for value in model.graph.initializers.values()]
    size = sum(value.const_value.nbytes for value in initializers if value.const_value is not None)
    weights = SharedWeights(draft) if size > embedded_max_bytes else None
    for file, model in models.items():
        strip_origins(model)
        if weights is not None:
            weights.take(model)
        _hold(model, draft)
        onnx_ir.save(model, draft / file)


def _hold(model: onnx_ir.Model, draft: Path) -> None:
    """Takes weights that lie in a file of the export into memory: the bundle must not point there."""
    for value in model.graph.initializers.values():
        tensor = value.const_value
        if isinstance(tensor, onnx_ir.ExternalTensor) and Path(tensor.base_dir) != draft:
            value.const_value = onnx_ir.tensor(tensor.numpy().copy(), name=value.name)


def _inputs(export: Export, max_length: int) -> tuple[InputSpec, ...]:
    length = SOURCE_AXIS.model_copy(update={"max": max_length})
    pad = export.config.get("pad_token_id")
    return (
        InputSpec(
            name=SOURCE_IDS,
            datatype=Datatype.INT64,
            axes=(RowAxis(), length),
            pad=pad if isinstance(pad, int) else 0,
        ),
        InputSpec(name=SOURCE_MASK, datatype=Datatype.INT64, axes=(RowAxis(), length), role="mask", optional=True),
    )


def _logits(vocab_size: int) -> OutputSpec:
    return OutputSpec(name=LOGITS, datatype=Datatype.FP32, axes=(RowAxis(), FixedAxis(size=vocab_size)), role="logits")


def _codec(words: Words, max_length: int) -> TextCodecSpec:
    return TextCodecSpec(tokenizer=words.source, max_length=max_length, input_ids=SOURCE_IDS, mask=SOURCE_MASK)


def _encode_face(encode: onnx_ir.Model, inputs: tuple[InputSpec, ...], states: tuple[StateSpec, ...]) -> Face:
    specs = {spec.name: spec for spec in inputs}
    return Face(
        tuple(_varying(str(value.name), specs[str(value.name)]) for value in encode.graph.inputs),
        tuple((state.source, state.datatype) for state in states if state.source is not None),
    )


def _step_face(step: onnx_ir.Model, states: tuple[StateSpec, ...]) -> Face:
    specs = {state.name: state for state in states}
    return Face(
        tuple(
            FaceInput(TOKENS, Datatype.INT64, {0: "row"})
            if value.name == TOKENS
            else _varying(value.name, specs[value.name])
            for value in step.graph.inputs
            if value.name is not None
        ),
        ((LOGITS, Datatype.FP32), *((state.output, state.datatype) for state in states if state.output is not None)),
    )


def _varying(name: str, spec: InputSpec | StateSpec) -> FaceInput:
    varying = {at: axis.kind for at, axis in enumerate(spec.axes) if not isinstance(axis, FixedAxis)}
    return FaceInput(name, spec.datatype, varying)


def _provenance(export: Export) -> Provenance:
    """Nothing was learned here: whatever the network knows, its data and its quality stand elsewhere."""
    config: dict[str, Any] = dict(export.config)
    origin = config.pop("_name_or_path", None)
    return Provenance(
        created_at=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        data=None,
        seed=0,
        config={
            "imported_from": public_source(origin) if isinstance(origin, str) and origin else export.directory.name,
            **config,
        },
        versions=library_versions(EXPORT_LIBRARIES),
    )
