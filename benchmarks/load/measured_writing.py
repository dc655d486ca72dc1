"""The outcome of a run in which text is written: every call that counts is checked, its tokens shared out by time."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.load.latency import encode, latencies_s
from benchmarks.load.measured import Compared, Measured
from benchmarks.load.records import Outcome, Records
from benchmarks.load.schedule import Closed, Phase, Schedule
from benchmarks.load.verdict import error_kind
from benchmarks.load.writing import Comparison, References, share_within


@dataclass(frozen=True)
class Text:
    """An answer: its tokens, and which of its messages is the first that brought any; None: it is no stream."""

    ids: Sequence[int]
    first_message: int | None = None


ReadText = Callable[[bytes], Text]
"""Takes an answer's body apart; raises ValueError where it is not an answer."""


@dataclass(frozen=True)
class Row:
    """A text that was written without a server."""

    request: int
    began_s: float
    """When it got its place, in seconds after the start."""
    done_s: float
    ids: Sequence[int]


def measure_calls(
    records: Records,
    schedule: Schedule,
    phase: Phase,
    read: ReadText,
    references: References,
    *,
    cpu_s: Mapping[str, float] | None = None,
) -> Measured:
    """Counts the calls of the measured time: those under way in it (closed loop), or meant to leave in it (open).

    A call of a closed loop counts with the share of its time that lies in the measured time, and so do its tokens: with
    texts of a second and more, those that happen to end there would say little. `answered` are those that ended there.
    """
    calls = records.calls
    closed = isinstance(schedule, Closed)
    left, done = calls["intended_s"], calls["done_s"]
    counted = (
        (done > phase.warm_up_s) & (left < phase.end_s) if closed else (left >= phase.warm_up_s) & (left < phase.end_s)
    )
    comparison, errors, tokens = Comparison(), dict[str, int](), 0.0
    right = np.zeros(len(calls), dtype=np.bool_)
    first_s = np.full(len(calls), np.nan)
    for index, (call, body, arrived) in enumerate(zip(calls, records.answers(), records.arrivals(), strict=True)):
        if not counted[index]:
            continue
        if call["outcome"] != Outcome.ANSWERED:
            kind = error_kind(int(call["outcome"]), int(call["status"]))
            errors[kind] = errors.get(kind, 0) + 1
            continue
        try:
            text = read(body)
        except ValueError:
            comparison.unequal += 1
            continue
        right[index] = comparison.add(text.ids, references.rows[int(call["request"])], references.tolerance)
        if text.first_message is not None:
            first_s[index] = arrived[text.first_message] - call["intended_s"]
        if right[index]:
            share = share_within(float(left[index]), float(done[index]), phase.warm_up_s, phase.end_s)
            tokens += len(text.ids) * (share if closed else 1.0)
    ended = right & (done < phase.end_s) if closed else right
    return Measured(
        seconds=phase.measured_s,
        answered=int(ended.sum()),
        useful_tokens=round(tokens),
        in_time=int(ended.sum()),
        errors=errors,
        wrong=comparison.unequal,
        compared=Compared.of(comparison),
        latencies=encode(latencies_s(calls[ended])),
        first_tokens=_histogram(first_s[ended]),
        rate=None if isinstance(schedule, Closed) else schedule.rate,
        late_ms=0.0 if closed else _late_ms(calls, counted),
        cpu_s={"client": records.cpu_s, **(cpu_s or {})},
    )


def measure_rows(
    rows: Iterable[Row], phase: Phase, references: References | None, wanted: Sequence[int], cpu_s: float
) -> Measured:
    """The same of what was written without a server; without `references` only lengths are checked."""
    comparison, tokens, answered = Comparison(), 0.0, 0
    latencies: list[float] = []
    for row in rows:
        if row.done_s <= phase.warm_up_s or row.began_s >= phase.end_s:
            continue
        if references is None:
            right = comparison.add_length(row.ids, wanted[row.request])
        else:
            right = comparison.add(row.ids, references.rows[row.request], references.tolerance)
        if right:
            tokens += len(row.ids) * share_within(row.began_s, row.done_s, phase.warm_up_s, phase.end_s)
            if row.done_s < phase.end_s:
                answered += 1
                latencies.append(row.done_s - row.began_s)
    return Measured(
        seconds=phase.measured_s,
        answered=answered,
        useful_tokens=round(tokens),
        in_time=answered,
        wrong=comparison.unequal,
        compared=Compared.of(comparison),
        latencies=encode(np.array(latencies)) if latencies else "",
        cpu_s={"server": cpu_s},
    )


def _histogram(first_s: NDArray[np.float64]) -> str:
    known = first_s[np.isfinite(first_s)]
    return encode(known) if len(known) else ""


def _late_ms(calls: NDArray[np.void], counted: NDArray[np.bool_]) -> float:
    lateness = (calls["sent_s"] - calls["intended_s"])[counted & np.isfinite(calls["sent_s"])]
    return float(np.percentile(lateness, 99)) * 1e3 if len(lateness) else 0.0
