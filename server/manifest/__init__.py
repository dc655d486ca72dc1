"""The bundle's typed contract: what `models` publishes and the server loads, one `manifest.json` a version.

Everything that batching must know about a graph stands in its axes: which axis counts rows, which grows with the
sequence, what pads it, which input is its mask. The server never guesses from names.
"""

from server.manifest.attention import AttentionSpec, CellAxis, TokenAxis
from server.manifest.base import (
    ALIAS_PATTERN,
    ALIASES_FILE,
    CHECKPOINT_FILE,
    GOLDEN_FILE,
    MANIFEST_FILE,
    MODEL_NAME_PATTERN,
    SCHEMA_VERSION,
    Alias,
    FileName,
    Frozen,
    ModelName,
    Precision,
)
from server.manifest.codecs import CodecSpec, ImageCodecSpec, TextCodecSpec
from server.manifest.document import Manifest, Task, parse_manifest
from server.manifest.generation import GenerationSpec
from server.manifest.graphs import BatchingSpec, GraphSpec, QuantisationReport
from server.manifest.reports import (
    Baseline,
    DataProvenance,
    FileDigest,
    OutputParity,
    PackedParity,
    ParityReport,
    Provenance,
    QualityDrop,
    QualityReport,
)
from server.manifest.tensors import (
    Axis,
    FixedAxis,
    FreeAxis,
    InputSpec,
    LengthAxis,
    OutputRole,
    OutputSpec,
    RowAxis,
    StateSpec,
)

__all__ = [
    "ALIASES_FILE",
    "ALIAS_PATTERN",
    "CHECKPOINT_FILE",
    "GOLDEN_FILE",
    "MANIFEST_FILE",
    "MODEL_NAME_PATTERN",
    "SCHEMA_VERSION",
    "Alias",
    "AttentionSpec",
    "Axis",
    "Baseline",
    "BatchingSpec",
    "CellAxis",
    "CodecSpec",
    "DataProvenance",
    "FileDigest",
    "FileName",
    "FixedAxis",
    "FreeAxis",
    "Frozen",
    "GenerationSpec",
    "GraphSpec",
    "ImageCodecSpec",
    "InputSpec",
    "LengthAxis",
    "Manifest",
    "ModelName",
    "OutputParity",
    "OutputRole",
    "OutputSpec",
    "PackedParity",
    "ParityReport",
    "Precision",
    "Provenance",
    "QualityDrop",
    "QualityReport",
    "QuantisationReport",
    "RowAxis",
    "StateSpec",
    "Task",
    "TextCodecSpec",
    "TokenAxis",
    "parse_manifest",
]
