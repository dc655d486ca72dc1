"""What a run of the benchmark found, every repetition kept, and its file."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.measure.ratio import Ratio, median, paired_ratio
from benchmarks.mechanisms.runs import Kind


@dataclass(frozen=True)
class Timing:
    """One subject, in one way of running, at one length.

    seconds: of single runs.
    reference_seconds: of the reference, run by run as its pair; empty where it takes too long at this length.
    """

    mechanism: str
    reference: str
    kind: Kind
    length: int
    seconds: list[float]
    reference_seconds: list[float]

    @property
    def median_s(self) -> float:
        """The median run, in seconds."""
        return median(self.seconds)

    @property
    def ratio(self) -> Ratio | None:
        """Time over the reference's time, pair by pair."""
        pairs = list(zip(self.seconds, self.reference_seconds, strict=True)) if self.reference_seconds else []
        return paired_ratio(pairs) if pairs else None


@dataclass(frozen=True)
class Peak:
    """The most memory that one run takes beyond what was held before it."""

    mechanism: str
    kind: Kind
    length: int
    size_bytes: int


@dataclass(frozen=True)
class LeftOut:
    """What was not measured, and why."""

    mechanism: str
    kind: Kind
    length: int
    reason: str


@dataclass
class Results:
    """All of one run. `about` says when, where, with which versions and at which scale."""

    about: dict[str, Any]
    timings: list[Timing] = field(default_factory=list)
    peaks: list[Peak] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)

    def timing(self, mechanism: str, kind: Kind, length: int) -> Timing | None:
        """What was timed of this subject; None if nothing was."""
        return next((t for t in self.timings if (t.mechanism, t.kind, t.length) == (mechanism, kind, length)), None)

    def peak(self, mechanism: str, kind: Kind, length: int) -> Peak | None:
        """The memory of this subject; None if it was not measured."""
        return next((p for p in self.peaks if (p.mechanism, p.kind, p.length) == (mechanism, kind, length)), None)

    def mechanisms(self) -> list[str]:
        """The subjects, in the order in which they were measured."""
        return list(dict.fromkeys(timing.mechanism for timing in self.timings))

    def lengths(self, *mechanisms: str) -> list[int]:
        """The lengths at which any of these was timed, ascending."""
        return sorted({timing.length for timing in self.timings if timing.mechanism in mechanisms})


def save(results: Results, path: Path) -> None:
    """Writes JSON, one measurement a line."""
    parts = [f'"about": {json.dumps(results.about, ensure_ascii=False)}']
    for name in ("timings", "peaks", "left_out"):
        lines = [json.dumps(asdict(one), ensure_ascii=False) for one in getattr(results, name)]
        parts.append(f'"{name}": [\n' + ",\n".join(lines) + "\n]")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")


def load(path: Path) -> Results:
    """Reads what `save` wrote."""
    found = json.loads(path.read_text(encoding="utf-8"))
    return Results(
        about=found["about"],
        timings=[Timing(**one) for one in found["timings"]],
        peaks=[Peak(**one) for one in found["peaks"]],
        left_out=[LeftOut(**one) for one in found["left_out"]],
    )
