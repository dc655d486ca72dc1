"""Whether an answer is right: every reply of a run is held against the reference."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from benchmarks.load.records import Outcome, Records

Vector = NDArray[np.float32]
Read = Callable[[bytes], Vector]
"""Takes an answer's body apart; raises ValueError where it is not an answer."""


@dataclass(frozen=True)
class Tolerance:
    """How far a right answer may be from the reference: both bounds hold."""

    max_error: float
    """The largest absolute difference of an element."""
    min_cosine: float
    """The smallest cosine of the angle between the two vectors."""


TOLERANCES = {
    "fp32": Tolerance(max_error=1e-4, min_cosine=0.99999),
    "bf16": Tolerance(max_error=np.inf, min_cosine=0.9999),
    "int8": Tolerance(max_error=np.inf, min_cosine=0.95),
}
"""By precision; the reference is fp32, one request at a time."""


@dataclass
class Verdict:
    """What became of the calls that were looked at."""

    right: NDArray[np.bool_]
    """By call, in the order of the records."""
    errors: dict[str, int] = field(default_factory=dict)
    """Calls that were not answered, by kind."""
    wrong: int = 0
    """Calls that were answered, but not right."""
    max_error: float = 0.0
    min_cosine: float = 1.0


def judge(
    records: Records, counted: NDArray[np.bool_], read: Read, reference: Sequence[Vector], tolerance: Tolerance
) -> Verdict:
    """Checks every counted call; the others are not looked at and not right."""
    verdict = Verdict(np.zeros(len(records.calls), dtype=np.bool_))
    for index, (call, body) in enumerate(zip(records.calls, records.answers(), strict=True)):
        if not counted[index]:
            continue
        if call["outcome"] != Outcome.ANSWERED:
            kind = error_kind(int(call["outcome"]), int(call["status"]))
            verdict.errors[kind] = verdict.errors.get(kind, 0) + 1
            continue
        verdict.right[index] = _is_right(verdict, body, read, reference[int(call["request"])], tolerance)
        verdict.wrong += not verdict.right[index]
    return verdict


def error_kind(outcome: int, status: int) -> str:
    """A call's end in words: `refused 503`, `timed out`."""
    name = Outcome(outcome).name.lower().replace("_", " ")
    return f"{name} {status}" if outcome == Outcome.REFUSED else name


def _is_right(verdict: Verdict, body: bytes, read: Read, expected: Vector, tolerance: Tolerance) -> bool:
    try:
        found = read(body)
    except ValueError:
        return False
    if found.shape != expected.shape or not np.isfinite(found).all():
        return False
    error = float(np.abs(found - expected).max(initial=0.0))
    cosine = cosine_of(found, expected)
    verdict.max_error = max(verdict.max_error, error)
    verdict.min_cosine = min(verdict.min_cosine, cosine)
    return error <= tolerance.max_error and cosine >= tolerance.min_cosine


def cosine_of(a: Vector, b: Vector) -> float:
    """The cosine of the angle between two vectors; 1 where both are zero."""
    a64, b64 = a.astype(np.float64), b.astype(np.float64)
    norms = float(np.linalg.norm(a64) * np.linalg.norm(b64))
    if norms == 0.0:
        return 1.0 if np.array_equal(a64, b64) else 0.0
    return float(a64 @ b64) / norms
