"""Results as curves: time and memory against length, on logarithmic axes, one row of panels a group."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter

from benchmarks.mechanisms.results import Results
from benchmarks.mechanisms.runs import TITLES, Kind
from benchmarks.mechanisms.subjects import FULL_ATTENTION, all_subjects
from models.attention.catalogue import Family

Groups = Mapping[str, Sequence[str]]

CLAIMS: Groups = {
    "additive and dot": ("additive", "concat", "dot", FULL_ATTENTION),
    "long inputs": (FULL_ATTENTION, "sliding-window", "block-sparse", "block", "linear", "linear, context alone"),
}
"""What the papers claim: the dot product is cheaper than the perceptron, windows and kernels than all pairs."""
PANELS: tuple[tuple[Kind, str], ...] = (
    *((kind, "time") for kind in get_args(Kind)),
    ("training", "memory"),
    ("onnx", "memory"),
)
WIDTH_IN, ROW_IN, DPI = 16.0, 3.0, 80
MARKERS = "osD^vPX*<>"


def by_family() -> Groups:
    """Every subject among those of its family."""
    groups: dict[str, list[str]] = {family: [] for family in get_args(Family)}
    for subject in all_subjects():
        groups[subject.family].append(subject.name)
    return groups


def draw(results: Results, groups: Groups, path: Path) -> None:
    """Writes a PNG with a row of panels for each group of which something was measured."""
    measured = set(results.mechanisms())
    kept = {title: [name for name in names if name in measured] for title, names in groups.items()}
    kept = {title: names for title, names in kept.items() if names}
    figure, rows = plt.subplots(
        len(kept), len(PANELS), figsize=(WIDTH_IN, ROW_IN * len(kept)), dpi=DPI, squeeze=False, layout="constrained"
    )
    for panels, (title, names) in zip(rows, kept.items(), strict=True):
        for axes, (kind, what) in zip(panels, PANELS, strict=True):
            _panel(axes, results, names, kind, what)
        panels[0].set_ylabel(f"{title}\nmilliseconds")
        panels[-1].legend(
            *panels[0].get_legend_handles_labels(), loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8
        )
    for axes, (kind, what) in zip(rows[0], PANELS, strict=True):
        axes.set_title(f"{what}: {TITLES[kind]}", fontsize=9)
    for axes in rows[-1]:
        axes.set_xlabel("positions")
    figure.savefig(path)
    plt.close(figure)


def _panel(axes: Axes, results: Results, names: Sequence[str], kind: Kind, what: str) -> None:
    drawn = False
    for name, marker in zip(names, MARKERS, strict=False):
        points = _times(results, name, kind) if what == "time" else _peaks(results, name, kind)
        # An empty curve keeps its colour and its place in the legend.
        drawn = drawn or bool(points)
        axes.plot(list(points), list(points.values()), marker=marker, markersize=3.5, linewidth=1.2, label=name)
    if not drawn:
        axes.set_axis_off()
        return
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=7))
    axes.yaxis.set_minor_formatter(NullFormatter())
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.grid(visible=True, which="major", linewidth=0.4, alpha=0.6)
    axes.tick_params(labelsize=8)
    if what == "memory":
        axes.set_ylabel("MiB", fontsize=8)


def _times(results: Results, name: str, kind: Kind) -> dict[int, float]:
    found = {t.length: t.median_s * 1000 for t in results.timings if (t.mechanism, t.kind) == (name, kind)}
    return dict(sorted(found.items()))


def _peaks(results: Results, name: str, kind: Kind) -> dict[int, float]:
    found = {p.length: p.size_bytes / 1024**2 for p in results.peaks if (p.mechanism, p.kind) == (name, kind)}
    return {length: size for length, size in sorted(found.items()) if size > 0}
