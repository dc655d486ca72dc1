"""The bundle's typed contract: what `models` publishes and the server loads, one `manifest.json` a version.

Everything that batching must know about a graph stands in its axes: which axis counts rows, which grows with the
sequence, what pads it, which input is its mask. The server never guesses from names.
"""

from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import from_json

from server.errors import ArtifactCorrupt
from server.tensors import Datatype

SCHEMA_VERSION: Literal[1] = 1
MANIFEST_FILE = "manifest.json"
ALIASES_FILE = "aliases.json"
CHECKPOINT_FILE = "checkpoint.safetensors"
GOLDEN_FILE = "golden.npz"

MODEL_NAME_PATTERN = r"^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,126}[A-Za-z0-9_-])?$"
ALIAS_PATTERN = r"^[A-Za-z][A-Za-z0-9_-]{0,63}$"

ModelName = Annotated[str, Field(pattern=MODEL_NAME_PATTERN)]
Alias = Annotated[str, Field(pattern=ALIAS_PATTERN)]


def _plain_file_name(name: str) -> str:
    """A bundle is flat: a name with a separator or a leading dot could reach outside it or hide."""
    if not name or name.startswith(".") or "\\" in name or "\0" in name or PurePosixPath(name).name != name:
        raise ValueError(f"{name!r} is not a plain file name inside the bundle")
    return name


Precision = Literal["fp32", "bf16", "int8"]
"""What answers are computed in."""

FileName = Annotated[str, AfterValidator(_plain_file_name)]


class Frozen(BaseModel):
    """Immutable, and strict about unknown keys: a typo in a manifest is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


# --- axes, inputs, outputs, states ---------------------------------------------------------------------------------


class RowAxis(Frozen):
    """The batch axis: one entry a row."""

    kind: Literal["row"] = "row"


class LengthAxis(Frozen):
    """An axis that is padded to the longest row of the batch; axes of the same `name` have the same length."""

    kind: Literal["length"] = "length"
    name: str = "length"
    max: int | None = Field(default=None, ge=1)
    """The longest length that the graph takes; None: no bound of its own."""


class FixedAxis(Frozen):
    """An axis of one size."""

    kind: Literal["fixed"] = "fixed"
    size: int = Field(ge=0)


class FreeAxis(Frozen):
    """An axis of any size that must not be padded: only requests of equal size run together."""

    kind: Literal["free"] = "free"
    name: str | None = None
    """Axes of the same name have the same size; None: equal to no other."""
    max: int | None = Field(default=None, ge=1)
    """The largest size that the graph takes; None: no bound of its own."""


Axis = Annotated[RowAxis | LengthAxis | FixedAxis | FreeAxis, Field(discriminator="kind")]


class InputSpec(Frozen):
    """One input of the model."""

    name: str = Field(min_length=1)
    datatype: Datatype
    axes: tuple[Axis, ...]
    pad: float | int | bool = 0
    """The value of padding along length axes, and of a whole absent optional input that is no mask."""
    role: Literal["data", "mask"] = "data"
    """A mask is 1 (true) where a row has content and `pad` where it is padding."""
    optional: bool = False
    """May be left out: a mask is then all ones over the request's own length, other inputs are all `pad`."""


OutputRole = Literal["data", "logits", "probabilities", "attention", "embedding"]


class OutputSpec(Frozen):
    """One output of the model; its length axes are cropped back to each request's own length."""

    name: str = Field(min_length=1)
    datatype: Datatype
    axes: tuple[Axis, ...]
    role: OutputRole = "data"


class StateSpec(Frozen):
    """One state of a `step` graph, carried from step to step."""

    name: str = Field(min_length=1)
    output: str = Field(min_length=1)
    """The graph output that holds the state after the step."""
    datatype: Datatype
    axes: tuple[Axis, ...]
    kind: Literal["append", "replace", "constant"]
    growing_axis: int | None = None
    """The axis along which `append` adds, None for the other kinds."""
    length_input: str | None = None
    """The input that tells the valid length per row, where the graph takes one."""
    aliasable: bool = False
    """Past and present may share one buffer."""
    reorderable: bool = True
    """Beams may move this state between rows."""


# --- attention ----------------------------------------------------------------------------------------------------


class TokenAxis(Frozen):
    """Positions along a map's axis are the tokens of the length axis named `length`."""

    kind: Literal["tokens"] = "tokens"
    length: str = "length"


class CellAxis(Frozen):
    """Positions along a map's axis are the cells of a grid over the image, row-major."""

    kind: Literal["cells"] = "cells"
    rows: int = Field(ge=1)
    columns: int = Field(ge=1)


class AttentionSpec(Frozen):
    """One attention mechanism whose weights may be asked for; each output is [row, head, query, key]."""

    name: str = Field(min_length=1)
    mechanism: str = Field(min_length=1)
    """The mechanism's name as the field knows it, such as `multi-head self-attention`."""
    outputs: tuple[str, ...] = Field(min_length=1)
    """The outputs that hold the weights, first layer first."""
    query: Annotated[TokenAxis | CellAxis, Field(discriminator="kind")]
    key: Annotated[TokenAxis | CellAxis, Field(discriminator="kind")]


# --- codecs -------------------------------------------------------------------------------------------------------


class TextCodecSpec(Frozen):
    """Text to token ids, by a `tokenizers` file."""

    kind: Literal["text"] = "text"
    tokenizer: FileName = "tokenizer.json"
    max_length: int = Field(ge=1)
    """The most tokens of one row, special tokens included."""
    input_ids: str = "input_ids"
    mask: str | None = "mask"
    token_type_ids: str | None = None


class ImageCodecSpec(Frozen):
    """An encoded image to a float32 array [1, channels, height, width]: resized, scaled to 0..1, normalised."""

    kind: Literal["image"] = "image"
    pixels: str = "pixels"
    height: int = Field(ge=1)
    width: int = Field(ge=1)
    mode: Literal["L", "RGB"] = "RGB"
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    resample: Literal["bilinear", "bicubic", "box", "nearest"] = "bilinear"

    @model_validator(mode="after")
    def _one_statistic_a_channel(self) -> "ImageCodecSpec":
        channels = len(self.mode)
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, channels):
                raise ValueError(f"{name} has {len(values)} values for {channels} channels")
        if any(value <= 0 for value in self.std):
            raise ValueError("std must be positive")
        return self


CodecSpec = Annotated[TextCodecSpec | ImageCodecSpec, Field(discriminator="kind")]


# --- graphs, reports, provenance ----------------------------------------------------------------------------------


class OutputParity(Frozen):
    """How far ONNX Runtime was from PyTorch on one output."""

    output: str
    max_error: float = Field(ge=0)
    mean_error: float = Field(ge=0)


_ROUNDING = 1e-9
"""What a difference of two shares of the same examples may be off."""


class QualityDrop(Frozen):
    """Held-out quality of a graph in fewer bits beside that of its source, both measured through the session."""

    metric: str
    source_value: float
    value: float
    """The lower of what it reached with rows alone and with rows in batches of mixed lengths."""
    largest_drop: float = Field(ge=0)
    """How far below `source_value` it may be, in units of the metric; publishing more is refused."""
    examples: int = Field(ge=1)

    @property
    def drop(self) -> float:
        """What was lost; negative where something was gained."""
        return self.source_value - self.value

    @property
    def excessive(self) -> bool:
        """Whether more was lost than was allowed; a quality that is no number counts as lost."""
        return not self.drop <= self.largest_drop + _ROUNDING


class QuantisationReport(Frozen):
    """What a graph in fewer bits loses against its source, the fp32 graph of the same layout that it was made from."""

    source: FileName
    source_bytes: int = Field(ge=0)
    bytes: int = Field(ge=0)
    """Of the graph and its external data; so is `source_bytes`."""
    max_error: float = Field(ge=0)
    """The largest difference to the source over all outputs, of rows alone and in batches."""
    min_cosine: float = Field(ge=-1, le=1)
    """Of the angle between a row's answer and the source's, the least over all outputs."""
    batched_equals_alone_max_error: float = Field(ge=0)
    """The largest difference between a row in a batch and the same row alone; more than in fp32, because numbers that
    are rounded as they come share one scale with their neighbours'."""
    quality: QualityDrop | None = None
    """None: left unmeasured, at the explicit wish of whoever made the graph."""
    parity: tuple[OutputParity, ...] = ()
    """How far verification found the graph from PyTorch; empty until then."""


class GraphSpec(Frozen):
    """One ONNX file of the bundle."""

    file: FileName
    role: Literal["run", "encode", "step"] = "run"
    layout: Literal["rows", "block-diagonal", "gathered"] = "rows"
    """Padded rows, or one of the two packed layouts, whose inputs `server.packed` describes."""
    precision: Literal["fp32", "fp16", "bf16", "int8"] = "fp32"
    maps: bool = False
    """The graph can return attention weights."""
    opset: int = Field(ge=7)
    tolerance: float = Field(default=1e-4, gt=0)
    """The largest absolute difference that two right answers may have."""
    quantisation: QuantisationReport | None = None
    """What a graph in int8 lost; None for every other."""


class BatchingSpec(Frozen):
    """Per-model tuning of batching; the deployment's settings win where they are stricter."""

    max_rows: int | None = Field(default=None, ge=1)
    max_tokens: int | None = Field(default=None, ge=1)
    invariant: bool = True
    """A row's answer does not depend on its neighbours; a model that failed this check is run alone."""


class PackedParity(Frozen):
    """How far a packed graph was from PyTorch over each row by itself."""

    file: FileName
    tolerance: float = Field(gt=0)
    outputs: tuple[OutputParity, ...] = Field(min_length=1)
    rows: tuple[int, ...]
    """The numbers of rows that were packed together, padding rows not counted."""
    tokens: tuple[int, ...]
    """The numbers of tokens that these rows had, padding not counted."""


class ParityReport(Frozen):
    """What verification measured, through the server's own codec and session."""

    tolerance: float = Field(gt=0)
    outputs: tuple[OutputParity, ...] = Field(min_length=1)
    batched_equals_alone_max_error: float = Field(ge=0)
    """The largest difference between a row in a padded batch and the same row alone."""
    batch_sizes: tuple[int, ...]
    lengths: tuple[int, ...] = ()
    packed: tuple[PackedParity, ...] = ()
    """One for each packed fp32 graph."""


class Baseline(Frozen):
    """A simpler method measured in the same run."""

    name: str
    value: float


class QualityReport(Frozen):
    """Held-out quality and what was required of it."""

    metric: str
    value: float
    required: float
    """Publishing below this is refused."""
    examples: int = Field(ge=1)
    baseline: Baseline | None = None


class DataProvenance(Frozen):
    """Where the training data came from."""

    source: str
    fingerprint: str
    """SHA-256 over the examples, in order."""
    examples: dict[str, int]
    """The number of examples in each split."""


class Provenance(Frozen):
    """How the bundle came to be."""

    created_at: str
    """ISO 8601, UTC."""
    data: DataProvenance | None
    """None: the network has no weights, so nothing was learned from any data and there is no quality to report."""
    seed: int
    config: dict[str, object]
    """The network's configuration."""
    versions: dict[str, str]
    """The versions of Python and of the libraries that made it."""
    git_revision: str | None = None


class FileDigest(Frozen):
    """What a file must hash to."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(ge=0)


Task = Literal[
    "text-classification",
    "token-classification",
    "image-classification",
    "object-detection",
    "image-generation",
    "question-answering",
    "text-generation",
    "translation",
    "summarisation",
    "image-captioning",
    "speech-recognition",
    "ranking",
    "embedding",
    "forecasting",
    "attention",
    "tensors",
]
"""What a model is for; `tensors` is a bare graph of which nothing more is known."""


class Manifest(Frozen):
    """The contract of one version of one model."""

    schema_version: Literal[1] = SCHEMA_VERSION
    name: ModelName
    task: Task
    graphs: tuple[GraphSpec, ...] = Field(min_length=1)
    inputs: tuple[InputSpec, ...] = Field(min_length=1)
    outputs: tuple[OutputSpec, ...] = Field(min_length=1)
    states: tuple[StateSpec, ...] = ()
    attention: tuple[AttentionSpec, ...] = ()
    codec: CodecSpec | None = None
    labels: FileName | None = None
    """A JSON list of class names, by index."""
    precision: Precision = "fp32"
    """What serves unless a setting says otherwise; bf16 runs the fp32 graphs on a provider that computes in it."""
    batching: BatchingSpec = BatchingSpec()
    golden: FileName | None = None
    """Inputs and outputs replayed at warm-up; arrays named `input.<row>.<name>` and `output.<row>.<name>`."""
    parity: ParityReport | None = None
    quality: QualityReport | None = None
    provenance: Provenance | None = None
    files: dict[FileName, FileDigest] = {}
    """Every other file of the bundle; one that is not listed is ignored, one that differs is refused."""

    @model_validator(mode="after")
    def _consistent(self) -> "Manifest":
        for kind, names in (
            ("input", [spec.name for spec in self.inputs]),
            ("output", [spec.name for spec in self.outputs]),
            ("graph", [graph.file for graph in self.graphs]),
        ):
            doubled = {name for name in names if names.count(name) > 1}
            if doubled:
                raise ValueError(f"{kind} named twice: {', '.join(sorted(doubled))}")
        attention = {spec.name for spec in self.outputs if spec.role == "attention"}
        named = {output for spec in self.attention for output in spec.outputs}
        if attention != named:
            raise ValueError(f"attention outputs {sorted(attention)} but attention names {sorted(named)}")
        self._check_codec()
        return self

    def _check_codec(self) -> None:
        if self.codec is None:
            return
        fed = (
            [self.codec.input_ids, self.codec.mask, self.codec.token_type_ids]
            if isinstance(self.codec, TextCodecSpec)
            else [self.codec.pixels]
        )
        unknown = {name for name in fed if name} - {spec.name for spec in self.inputs}
        if unknown:
            raise ValueError(f"the codec feeds inputs that do not exist: {', '.join(sorted(unknown))}")

    @property
    def batched(self) -> bool:
        """Whether every input and output counts rows on its first axis."""
        specs: list[InputSpec | OutputSpec] = [*self.inputs, *self.outputs]
        return all(spec.axes and spec.axes[0].kind == "row" for spec in specs)

    def input(self, name: str) -> InputSpec | None:
        """The input of this name."""
        return next((spec for spec in self.inputs if spec.name == name), None)

    def output(self, name: str) -> OutputSpec | None:
        """The output of this name."""
        return next((spec for spec in self.outputs if spec.name == name), None)

    def to_json(self) -> str:
        """The manifest as it is written to disk."""
        return self.model_dump_json(indent=2) + "\n"


def parse_manifest(content: bytes) -> Manifest:
    """Reads a manifest from the bytes of `manifest.json`.

    Raises ArtifactCorrupt if it is not JSON, of another schema version, or does not fit the schema.
    """
    try:
        document = from_json(content)
    except ValueError as error:
        raise ArtifactCorrupt(f"{MANIFEST_FILE} is not JSON") from error
    if not isinstance(document, dict):
        raise ArtifactCorrupt(f"{MANIFEST_FILE} is not a JSON object")
    schema = document.get("schema_version")
    if schema != SCHEMA_VERSION:
        raise ArtifactCorrupt(
            f"{MANIFEST_FILE} has schema version {schema!r}; this server reads version {SCHEMA_VERSION}"
        )
    try:
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the manifest"
        raise ArtifactCorrupt(f"{MANIFEST_FILE}: {where}: {first['msg']}") from error
