"""A results file as Markdown."""

from collections.abc import Iterator

from benchmarks.load.measured import Measured
from benchmarks.measure.ratio import CONFIDENCE, median
from benchmarks.report.results import CellResult, HeadlineResult, RatioResult, Results

QUICK = "**A quick run: it shows that everything works, and its numbers mean nothing.**"


def render(results: Results) -> str:
    """The ratios, then every cell, then what could not be measured."""
    return "\n".join(_lines(results)) + "\n"


def _lines(results: Results) -> Iterator[str]:
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
    yield "\n| ratio | what | value | 95% interval | at least | aim | decided by |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    yield from (_headline(name, headline) for name, headline in results.ratios.items())
    yield "\n| cell | figure | a | b | a over b | 95% interval | p99 a, b (ms) |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    yield from map(_cell, results.cells)
    if results.unavailable:
        yield "\n| not measured | reason |\n| --- | --- |"
        yield from (f"| `{name}` | {reason.replace('|', ' ')} |" for name, reason in results.unavailable.items())


def _headline(name: str, headline: HeadlineResult) -> str:
    ratio = headline.ratio
    decided = f"`{headline.decided_by}`" if headline.decided_by else "all cells"
    left_out = f"; without {len(headline.left_out)} of {len(headline.cells)} cells" if headline.left_out else ""
    if ratio is None:
        return f"| `{name}` | {headline.title} | not measured | | {headline.at_least:g} | {headline.aim:g} | |"
    reached = "" if ratio.value >= headline.at_least else " (not reached)"
    return (
        f"| `{name}` | {headline.title} | {ratio.value:.3f}{reached} | {_interval(ratio)} | {headline.at_least:g} | "
        f"{headline.aim:g} | {decided}{left_out} |"
    )


def _cell(cell: CellResult) -> str:
    pairs = cell.figures(cell.figure)
    a, b = (median(list(side)) for side in zip(*pairs, strict=True))
    wrong = "" if cell.sound else " (not every answer was right)"
    ratio = "none" if cell.ratio is None else f"{cell.ratio.value:.3f}{wrong}"
    interval = "" if cell.ratio is None else _interval(cell.ratio)
    latencies = _p99([pair.a for pair in cell.pairs]), _p99([pair.b for pair in cell.pairs])
    return (
        f"| `{cell.id}` | {cell.figure} | `{cell.a}` {a:,.1f} | `{cell.b}` {b:,.1f} | {ratio} | {interval} | "
        f"{latencies[0]}, {latencies[1]} |"
    )


def _interval(ratio: RatioResult) -> str:
    """With what it really holds where there were too few pairs for 95%."""
    short = "" if ratio.coverage >= CONFIDENCE else f" ({ratio.coverage:.1%})"
    return f"{ratio.low:.3f} to {ratio.high:.3f}{short}"


def _p99(runs: list[Measured]) -> str:
    timed = [run.figure("p99_ms") for run in runs if run.latencies and run.answered]
    return f"{median(timed):.0f}" if timed else "-"
