"""A results file as Markdown."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from benchmarks.load.latency import percentile_ms
from benchmarks.load.measured import Measured
from benchmarks.measure.ratio import CONFIDENCE, median
from benchmarks.report.results import CellResult, HeadlineResult, RatioResult, Results

QUICK = "**A quick run: it shows that everything works, and its numbers mean nothing.**"


NO_NOTES: Mapping[str, str] = MappingProxyType({})
UNTOLD = "not told"
"""Stands where a ratio was not reached and no note says why."""


def render(results: Results, notes: Mapping[str, str] = NO_NOTES) -> str:
    """The ratios with the notes on them, then every cell, then what could not be measured."""
    return "\n".join(_lines(results, notes)) + "\n"


def _lines(results: Results, notes: Mapping[str, str]) -> Iterator[str]:
    about = results.environment
    yield f"{about.date[:10]}; {about.cores} cores of {about.processor}, {about.memory_gib} GiB, {about.system}; "
    yield ", ".join(f"{name} {version}" for name, version in about.versions.items()) + "; "
    yield f"revision {about.git_revision or 'unknown'}; `{about.command}`"
    if results.quick:
        yield f"\n{QUICK}"
    if results.ceiling is not None:
        ceiling = results.ceiling
        yield (
            f"\nThe load generator takes {ceiling.client_cpu_us_per_request:.0f} µs of processor time a request: its "
            f"ceiling is {ceiling.requests_per_s_of_one_core:,.0f} requests/s for a core of its own. Against the bare "
            f"echo it reached {ceiling.requests_per_s:,.0f}."
        )
    yield "\n| ratio | what | value | 95% interval | at least | aim | decided by | why |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    yield from (_headline(name, headline, notes.get(name)) for name, headline in results.ratios.items())
    yield "\n| cell | figure | a | b | a over b | 95% interval | p99 a, b (ms) | likeness a, b |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    yield from map(_cell, results.cells)
    yield from map(_refusals, (cell for cell in results.cells if cell.may_refuse))
    if results.unavailable:
        yield "\n| not measured | reason |\n| --- | --- |"
        yield from (f"| `{name}` | {reason.replace('|', ' ')} |" for name, reason in results.unavailable.items())


def _headline(name: str, headline: HeadlineResult, note: str | None) -> str:
    ratio = headline.ratio
    decided = f"`{headline.decided_by}`" if headline.decided_by else "all cells"
    if headline.left_out:
        decided += f"; without {len(headline.left_out)} of {len(headline.cells)} cells"
    if headline.below_floor:
        decided += f"; below {headline.floor:g}: {', '.join(f'`{cell}`' for cell in headline.below_floor)}"
    why = (note or ("" if headline.reached else UNTOLD)).replace("|", " ").replace("\n", " ")
    bounds = f"{headline.at_least:g} | {headline.aim:g}"
    if ratio is None:
        return f"| `{name}` | {headline.title} | not measured | | {bounds} | | {why} |"
    value = f"{ratio.value:.3f}{'' if headline.reached else ' (not reached)'}"
    return f"| `{name}` | {headline.title} | {value} | {_interval(ratio)} | {bounds} | {decided} | {why} |"


def _cell(cell: CellResult) -> str:
    pairs = cell.figures(cell.figure)
    a, b = (median(list(side)) for side in zip(*pairs, strict=True))
    wrong = "" if cell.sound else " (not every answer was right)"
    ratio = "none" if cell.ratio is None else f"{cell.ratio.value:.3f}{wrong}"
    interval = "" if cell.ratio is None else _interval(cell.ratio)
    runs = [pair.a for pair in cell.pairs], [pair.b for pair in cell.pairs]
    latencies, likeness = map(_p99, runs), map(_likeness, runs)
    return (
        f"| `{cell.id}` | {cell.figure} | `{cell.a}` {a:,.1f} | `{cell.b}` {b:,.1f} | {ratio} | {interval} | "
        f"{', '.join(latencies)} | {', '.join(likeness)} |"
    )


def _refusals(cell: CellResult) -> str:
    """What became of the calls that were refused, as the client saw it."""
    runs = [run.refusals for pair in cell.pairs for run in (pair.a, pair.b) if run.refusals]
    if not runs:
        return f"\n`{cell.id}`: no call was refused."
    middle, late = (median([percentile_ms(run, percentile) for run in runs]) for percentile in (50, 99))
    return (
        f"\n`{cell.id}`: half of the calls that were refused were told so within {middle:.2f} ms, 99% in {late:.2f} ms."
    )


def _interval(ratio: RatioResult) -> str:
    """With what it really holds where there were too few pairs for 95%."""
    short = "" if ratio.coverage >= CONFIDENCE else f" ({ratio.coverage:.1%})"
    return f"{ratio.low:.3f} to {ratio.high:.3f}{short}"


def _p99(runs: list[Measured]) -> str:
    timed = [run.figure("p99_ms") for run in runs if run.latencies and run.answered]
    return f"{median(timed):.0f}" if timed else "-"


def _likeness(runs: list[Measured]) -> str:
    """Of embeddings the least cosine to what is right; of texts the share of tokens before the first difference."""
    texts = [run.compared for run in runs if run.compared is not None]
    if not texts:
        return f"{min(run.min_cosine for run in runs):.5f}"
    alike = [text.tokens_alike for text in texts if text.tokens_alike is not None]
    if not alike:
        return "lengths alone"
    return f"{sum(alike) / max(1, sum(text.tokens for text in texts)):.2%}"
