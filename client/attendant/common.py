"""What the calls of all tasks share: which model, how to shorten, how long it took."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from attendant.v1 import common_pb2

Input: TypeAlias = str | bytes | Path
"""A text, the bytes of an image file, or the path of one."""

Truncation: TypeAlias = Literal["refuse", "cut_end", "cut_start"]
"""What to do with a text that is too long: refuse the call, or cut off its end or its start."""

_TRUNCATIONS: dict[str, common_pb2.Truncation] = {
    "refuse": common_pb2.TRUNCATION_REFUSE,
    "cut_end": common_pb2.TRUNCATION_CUT_END,
    "cut_start": common_pb2.TRUNCATION_CUT_START,
}


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """The version of a model that answered; `alias` is empty where none chose it."""

    name: str
    version: int
    alias: str


@dataclass(frozen=True, slots=True)
class Timing:
    """Where the time went, in seconds, as the server measured it.

    Of a single result `request_s` is 0; of a whole call, queue and compute time are those of its slowest result.
    `batch_rows` counts the rows that ran together, those of other callers included.
    """

    queue_s: float
    compute_s: float
    request_s: float
    batch_rows: int


@dataclass(frozen=True, slots=True)
class TruncationReport:
    """How much of an input was read, in the model's own unit: tokens of a text."""

    truncated: bool
    kept_length: int
    original_length: int


def read_inputs(inputs: Input | Sequence[Input]) -> list[str | bytes]:
    """One input or several, as a list with the files read.

    Raises TypeError for anything but str, bytes and Path, OSError if a file cannot be read.
    """
    several = [inputs] if isinstance(inputs, str | bytes | Path) else inputs
    return [_read(each) for each in several]


def _read(single: Input) -> str | bytes:
    if isinstance(single, Path):
        return single.read_bytes()
    if isinstance(single, str | bytes):
        return single
    raise TypeError(f"an input is str, bytes or pathlib.Path, not {type(single).__name__}")


def model_ref(name: str, version: int | None, alias: str | None) -> common_pb2.ModelRef:
    """Names a model by version, by alias, or (both None) as the server chooses.

    Raises ValueError for both at once or a version that is no 64-bit integer.
    """
    if version is not None and alias is not None:
        raise ValueError(f"give version or alias, not both: {version} and {alias!r}")
    return common_pb2.ModelRef(name=name, version=version, alias=alias)


def truncation_value(truncation: Truncation) -> common_pb2.Truncation:
    """The wire's number for a choice; raises ValueError for an unknown one."""
    if truncation not in _TRUNCATIONS:
        raise ValueError(f"truncation must be one of {', '.join(_TRUNCATIONS)}, not {truncation!r}")
    return _TRUNCATIONS[truncation]


def parse_model(message: common_pb2.ModelVersion) -> ModelVersion:
    """Reads which version answered."""
    return ModelVersion(message.name, message.version, message.alias)


def parse_timing(message: common_pb2.Timing) -> Timing:
    """Reads where the time went."""
    return Timing(message.queue_s, message.compute_s, message.request_s, message.batch_rows)


def parse_truncation(message: common_pb2.TruncationReport) -> TruncationReport:
    """Reads how much of an input was read."""
    return TruncationReport(message.truncated, message.kept_length, message.original_length)
