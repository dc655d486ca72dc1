"""What was measured of a bundle, and how it came to be."""

from pydantic import Field

from server.manifest.base import FileName, Frozen


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
    """The worse of what it reached with rows alone and with rows in batches of mixed lengths."""
    largest_drop: float = Field(ge=0)
    """How much worse than `source_value` it may be, in units of the metric; publishing more is refused."""
    examples: int = Field(ge=1)
    higher_is_better: bool = True
    """Of the metric, as in `QualityReport`."""

    @property
    def drop(self) -> float:
        """What was lost; negative where something was gained."""
        return self.source_value - self.value if self.higher_is_better else self.value - self.source_value

    @property
    def excessive(self) -> bool:
        """Whether more was lost than was allowed; a quality that is no number counts as lost."""
        return not self.drop <= self.largest_drop + _ROUNDING


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
    """Publishing what is worse than this is refused."""
    examples: int = Field(ge=1)
    baseline: Baseline | None = None
    higher_is_better: bool = True
    """Of the metric; false where it counts errors or bits."""

    @property
    def met(self) -> bool:
        """Whether the value is as good as required; one that is no number is not."""
        return self.value >= self.required if self.higher_is_better else self.value <= self.required


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
