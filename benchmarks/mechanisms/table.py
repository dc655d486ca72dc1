"""Results as Markdown: additive against dot, long inputs against full attention, and every mechanism at one length."""

from collections.abc import Iterable, Sequence
from typing import get_args

from benchmarks.measure.ratio import Ratio
from benchmarks.mechanisms.results import Results
from benchmarks.mechanisms.runs import TITLES, Kind
from benchmarks.mechanisms.subjects import FULL_ATTENTION, subject

KINDS: tuple[Kind, ...] = get_args(Kind)
OVERVIEW_LENGTH = 1024
"""At which length all mechanisms stand in one table, or the longest below it."""
NOTHING = "–"
ADDITIVE, DOT = "additive", "dot"
LIBRARIES = ("python", "torch", "onnxruntime")


def render(results: Results) -> str:
    """All tables, of what was measured."""
    measured = results.mechanisms()
    parts = [_about(results)]
    if {ADDITIVE, DOT} <= set(measured):
        parts += ["### Additive against dot", _claim(results)]
    long_inputs = [name for name in measured if subject(name).family == "long inputs"]
    if long_inputs:
        parts += ["### Long inputs against full attention"]
        parts += [_against_full(results, kind, long_inputs) for kind in KINDS]
        parts += [_memory_against_full(results, long_inputs)]
    return "\n\n".join([*parts, *_overview(results)]) + "\n"


def crossing(results: Results, mechanism: str, kind: Kind) -> str:
    """From which length on a subject is faster than its reference for certain: the whole interval, at all longer ones.

    "never" where it is not at the longest.
    """
    since = None
    for length in reversed(results.lengths(mechanism)):
        timing = results.timing(mechanism, kind, length)
        found = timing.ratio if timing is not None else None
        if found is None:
            continue
        if found.high >= 1:
            break
        since = length
    return "never" if since is None else f"{since:,}"


def _about(results: Results) -> str:
    machine, scale = results.about["environment"], results.about["scale"]
    versions = ", ".join(f"{library} {machine['versions'][library]}" for library in LIBRARIES)
    return (
        f"{machine['date'][:10]}; {machine['cores']} cores, {machine['processor']}; {versions}; one thread; "
        f"`{machine['command']}`. One row, {scale['d_model']} wide, {scale['num_heads']} heads where there are heads, "
        f"a window of {scale['window']} to either side, blocks of {scale['block']}."
    )


def _claim(results: Results) -> str:
    """How many times the dot product's time and memory the perceptron takes."""
    header = ["length", *(f"time, {TITLES[kind]}" for kind in KINDS), *(f"memory, {TITLES[kind]}" for kind in KINDS)]
    rows = []
    for length in results.lengths(ADDITIVE):
        times = [_time_ratio(results, ADDITIVE, kind, length) for kind in KINDS]
        memory = [_memory_ratio(results, ADDITIVE, DOT, kind, length) for kind in KINDS]
        rows.append([f"{length:,}", *times, *memory])
    return _table(header, rows)


def _against_full(results: Results, kind: Kind, names: Sequence[str]) -> str:
    lengths = results.lengths(*names)
    header = [f"time, {TITLES[kind]}", *(f"{length:,}" for length in lengths), "faster from"]
    rows = [
        [name, *(_time_ratio(results, name, kind, length) for length in lengths), crossing(results, name, kind)]
        for name in names
    ]
    return _table(header, rows)


def _memory_against_full(results: Results, names: Sequence[str]) -> str:
    lengths = results.lengths(*names)
    header = [f"memory, {TITLES['training']}", *(f"{length:,}" for length in lengths)]
    rows = [
        [name, *(_memory_ratio(results, name, FULL_ATTENTION, "training", length) for length in lengths)]
        for name in names
    ]
    return _table(header, rows)


def _overview(results: Results) -> Iterable[str]:
    lengths = [length for length in results.lengths(*results.mechanisms()) if length <= OVERVIEW_LENGTH]
    if not lengths:
        return
    length = lengths[-1]
    yield f"### Every mechanism at {length:,} positions"
    header = ["mechanism", *(f"{TITLES[kind]}: ms, MiB" for kind in KINDS), "forward, beside", ""]
    rows = []
    for name in results.mechanisms():
        cells = [_cell(results, name, kind, length) for kind in KINDS]
        rows.append([name, *cells, _reference(results, name), _time_ratio(results, name, "forward", length)])
    yield _table(header, rows)


def _cell(results: Results, name: str, kind: Kind, length: int) -> str:
    timing, peak = results.timing(name, kind, length), results.peak(name, kind, length)
    milliseconds = f"{timing.median_s * 1000:.3g}" if timing is not None else NOTHING
    mebibytes = f"{peak.size_bytes / 1024**2:.3g}" if peak is not None else NOTHING
    return f"{milliseconds}, {mebibytes}"


def _time_ratio(results: Results, name: str, kind: Kind, length: int) -> str:
    timing = results.timing(name, kind, length)
    return NOTHING if timing is None or timing.ratio is None else _text(timing.ratio)


def _text(found: Ratio) -> str:
    return f"{found.value:.3g} ({found.low:.3g} to {found.high:.3g})"


def _memory_ratio(results: Results, name: str, reference: str, kind: Kind, length: int) -> str:
    peak, other = results.peak(name, kind, length), results.peak(reference, kind, length)
    if peak is None or other is None or other.size_bytes == 0:
        return NOTHING
    return f"{peak.size_bytes / other.size_bytes:.3g}"


def _reference(results: Results, name: str) -> str:
    return next(timing.reference for timing in results.timings if timing.mechanism == name)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
