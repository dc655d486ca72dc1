"""The manifest itself: one `manifest.json` a version, and reading it."""

from typing import Literal

from pydantic import Field, ValidationError, model_validator
from pydantic_core import from_json

from server.errors import ArtifactCorrupt
from server.manifest.attention import AttentionSpec
from server.manifest.base import MANIFEST_FILE, SCHEMA_VERSION, FileName, Frozen, ModelName, Precision
from server.manifest.codecs import CodecSpec, TextCodecSpec
from server.manifest.generation import GenerationSpec
from server.manifest.graphs import BatchingSpec, GraphSpec
from server.manifest.reports import FileDigest, ParityReport, Provenance, QualityReport
from server.manifest.tensors import InputSpec, OutputSpec, StateSpec

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


_LAYOUTS = {"run": ("rows", "block-diagonal", "gathered"), "encode": ("rows",), "step": ("rows", "columns")}
"""What may be written in which way, by role."""


class Manifest(Frozen):
    """The contract of one version of one model."""

    schema_version: Literal[1] = SCHEMA_VERSION
    name: ModelName
    task: Task
    graphs: tuple[GraphSpec, ...] = Field(min_length=1)
    inputs: tuple[InputSpec, ...] = Field(min_length=1)
    outputs: tuple[OutputSpec, ...] = Field(min_length=1)
    states: tuple[StateSpec, ...] = ()
    generation: GenerationSpec | None = None
    """How it writes token by token; None: it answers at once."""
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
    files: dict[FileName, FileDigest] = Field(default_factory=dict)
    """Every other file of the bundle; one that is not listed is ignored, one that differs is refused."""

    @model_validator(mode="after")
    def _consistent(self) -> "Manifest":
        for kind, names in (
            ("input", [spec.name for spec in self.inputs]),
            ("output", [spec.name for spec in self.outputs]),
            ("graph", [graph.file for graph in self.graphs]),
            ("state", [state.name for state in self.states]),
        ):
            doubled = {name for name in names if names.count(name) > 1}
            if doubled:
                raise ValueError(f"{kind} named twice: {', '.join(sorted(doubled))}")
        attention = {spec.name for spec in self.outputs if spec.role == "attention"}
        named = {output for spec in self.attention for output in spec.outputs}
        if attention != named:
            raise ValueError(f"attention outputs {sorted(attention)} but attention names {sorted(named)}")
        self._check_codec()
        self._check_layouts()
        self._check_generation()
        return self

    def _check_layouts(self) -> None:
        for graph in self.graphs:
            if graph.layout not in _LAYOUTS[graph.role]:
                raise ValueError(f"{graph.file}: a graph of the role {graph.role} cannot be in {graph.layout}")
        columns = [graph for graph in self.graphs if graph.layout == "columns"]
        beside = any(
            graph.role == "step" and (graph.layout, graph.precision) == ("rows", "fp32") for graph in self.graphs
        )
        if columns and (len(columns) > 1 or columns[0].precision != "fp32" or not beside):
            raise ValueError("one step graph may be in columns, in fp32 and beside one in rows")

    def _check_generation(self) -> None:
        roles = {graph.role for graph in self.graphs}
        if self.generation is None:
            if self.states or roles != {"run"}:
                raise ValueError("states, and graphs that encode or step, need `generation`")
            return
        if "run" in roles or "step" not in roles:
            raise ValueError(f"generation takes a step graph and perhaps one that encodes, not {sorted(roles)}")
        encodes = "encode" in roles
        if encodes != any(state.source is not None for state in self.states):
            raise ValueError("an encode graph and states with a source need each other")
        if encodes and not self.generation.start:
            raise ValueError("generation with an encode graph needs a start token")
        if self.output(self.generation.logits) is None:
            raise ValueError(f"generation takes its logits from {self.generation.logits!r}, which is no output")

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

    @property
    def encodes(self) -> bool:
        """Whether a source is read by a graph of its own, before anything is written."""
        return any(graph.role == "encode" for graph in self.graphs)

    @property
    def growing(self) -> frozenset[str]:
        """The length axes along which steps append to states."""
        grown = (state.axes[state.growing_axis] for state in self.states if state.growing_axis is not None)
        return frozenset(axis.name for axis in grown if axis.kind == "length")

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
