"""The ONNX files of a bundle: role, layout, precision, and what fewer bits lost."""

from typing import Literal

from pydantic import Field

from server.manifest.base import FileName, Frozen
from server.manifest.reports import OutputParity, QualityDrop


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
    layout: Literal["rows", "block-diagonal", "gathered", "columns"] = "rows"
    """Padded rows, or one of the two packed layouts, whose inputs `server.packed` describes. A step may have a second
    graph in `columns`: the same inputs and outputs, with the rows as the columns of its products, which is quicker from
    about a dozen rows on."""
    precision: Literal["fp32", "fp16", "bf16", "int8"] = "fp32"
    maps: bool = False
    """The graph can return attention weights."""
    opset: int = Field(ge=7)
    tolerance: float = Field(default=1e-4, gt=0)
    """The largest absolute difference that two right answers may have."""
    quantisation: QuantisationReport | None = None
    """What a graph in int8 lost; None for every other."""

    @property
    def packed(self) -> Literal["block-diagonal", "gathered"] | None:
        """The packed layout; None where rows are padded."""
        return self.layout if self.layout in ("block-diagonal", "gathered") else None


class BatchingSpec(Frozen):
    """Per-model tuning of batching; the deployment's settings win where they are stricter."""

    max_rows: int | None = Field(default=None, ge=1)
    max_tokens: int | None = Field(default=None, ge=1)
    invariant: bool = True
    """A row's answer does not depend on its neighbours; a model that failed this check is run alone."""
