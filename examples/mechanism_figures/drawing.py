"""The pictures: what was read on top, the weights below, in the same colours and sizes for all mechanisms."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

from examples.mechanism_figures.scans import SIDE

Numbers = NDArray[np.float32]

DPI = 100
WIDTH_INCHES = 9.0
TEXT, SMALL = 9, 8
_INK, _HEAT = "gray_r", "Blues"
_GLOW = ListedColormap(["#f97316"])
_RIGHT, _WRONG, _LINE, _CHOSEN = "#1f2937", "#dc2626", "#9ca3af", "#c2410c"
_SQUARE_INCHES = 3.3
_DIGITS_INCHES = 6.0
"""Height of a strip of one digit that fills the picture; of n digits the n-th part."""


@dataclass(frozen=True)
class Seen:
    """What is drawn of one example.

    images: the digits read, (n,8,8), ink from 0 to 1.
    weights: by the name of its panel, each (T,S).
    query, key: what the rows and the columns of the weights are.
    answers: what the reader said, row by row, and whether it was right.
    """

    images: Numbers
    weights: Mapping[str, Numbers]
    query: str
    key: str
    answers: Sequence[tuple[str, bool]]


def over_strip(seen: Seen) -> Figure:
    """The strip, and under it a matrix for each panel: queries down, and what they looked at below itself."""
    heights = [_DIGITS_INCHES / len(seen.images), *(0.21 * len(weights) + 0.45 for weights in seen.weights.values())]
    figure = Figure(figsize=(WIDTH_INCHES, sum(heights) + 0.6), dpi=DPI, layout="constrained")
    strip, *places = figure.subplots(len(heights), 1, height_ratios=heights)
    _draw_strip(strip, seen.images)
    for axes, (name, weights) in zip(places, seen.weights.items(), strict=True):
        _draw_matrix(axes, name, weights)
        rows, columns = weights.shape
        axes.set_yticks(range(rows), [f"{seen.query} {row + 1}" for row in range(rows)])
        if columns == rows and "step" in name:
            axes.set_xticks(range(columns), [f"{seen.query} {column + 1}" for column in range(columns)])
        else:
            axes.set_xticks(list(range(0, columns, 4 if columns > SIDE else 1)))
            axes.set_xlabel(seen.key, fontsize=SMALL)
    for row, (answer, right) in enumerate(seen.answers):
        places[0].annotate(
            f"→ {answer}",
            (1.01, row),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=TEXT,
            color=_RIGHT if right else _WRONG,
        )
    return figure


def among_columns(seen: Seen, chosen: Sequence[int]) -> Figure:
    """For each panel the strip, the square matrix, and the weights of the chosen queries over the strip.

    Beside a single panel there is room for these; several stand side by side with theirs below.
    Questions that stand before the columns of the strip are counted below zero.
    """
    count = len(seen.weights)
    strip = WIDTH_INCHES * 0.9 / max(count, 2) / len(seen.images)  # as high as makes its pixels square
    glows = [strip] * len(chosen)
    heights = [strip, _SQUARE_INCHES] if count == 1 else [strip, _SQUARE_INCHES, *glows]
    figure = Figure(figsize=(WIDTH_INCHES, sum(heights) + (0.7 if count == 1 else 1.6)), dpi=DPI, layout="constrained")
    if count == 1:
        left, right = figure.subfigures(1, 2, squeeze=False)[0]
        places = np.concatenate((left.subplots(2, 1, height_ratios=heights), np.ravel(right.subplots(len(chosen), 1))))
        grid = places[:, None]
    else:
        grid = figure.subplots(len(heights), count, height_ratios=heights)
    for places, (name, weights) in zip(grid.T, seen.weights.items(), strict=True):
        _draw_panel(places, seen, name, weights, chosen)
    grid[1, 0].set_ylabel(f"{seen.query} of the strip", fontsize=SMALL)
    return figure


def _draw_panel(places: Sequence[Axes], seen: Seen, name: str, weights: Numbers, chosen: Sequence[int]) -> None:
    """One panel of `among_columns`: strip, matrix, then a place for each chosen query."""
    before = len(weights) - SIDE * len(seen.images)
    extent = (-before, len(weights) - before)
    _draw_strip(places[0], seen.images, extent)
    _draw_matrix(places[1], name, weights, extent)
    _number_positions(places[1], extent[1])
    if before:
        places[1].set_yticks([-before / 2], ["asked"], minor=True)
    places[1].set_xlabel(f"key: {seen.key}", fontsize=SMALL)
    for axes, query in zip(places[2:], chosen, strict=True):
        _draw_strip(axes, seen.images, extent, weights[query + before])
        axes.axvline(query + 0.5, color=_CHOSEN, linewidth=1.2)
        named = f"{seen.query} {query}" if query >= 0 else f"query: question {query + before + 1}"
        axes.set_title(named, fontsize=SMALL, loc="left", color=_CHOSEN)


def single_digits(seen: Sequence[Seen]) -> Figure:
    """A row of digits, and under each the same digit under its weights."""
    figure = Figure(figsize=(WIDTH_INCHES, 3.6), dpi=DPI, layout="constrained")
    for (above, below), one in zip(figure.subplots(2, len(seen)).T, seen, strict=True):
        (weights,) = one.weights.values()
        ((answer, right),) = one.answers
        _draw_digit(above, one.images[0])
        above.set_title(f"→ {answer}", fontsize=TEXT, color=_RIGHT if right else _WRONG)
        _draw_digit(below, one.images[0], np.broadcast_to(weights, (SIDE, SIDE)))
        below.set_title(f"up to {weights.max():.2f}", fontsize=SMALL)
        if weights.shape[1] == 1:
            below.set_yticks(range(SIDE), [f"{weight:.2f}" for weight in weights[:, 0]])
            below.tick_params(labelsize=SMALL - 1, length=0)
    return figure


def over_map(seen: Seen, chosen: Sequence[int]) -> Figure:
    """The digit, the matrix of all cells, and the weights of the chosen queries over the digit."""
    ((name, weights),) = seen.weights.items()
    figure = Figure(figsize=(WIDTH_INCHES, 4.6), dpi=DPI, layout="constrained")
    left, right = figure.subfigures(1, 2, squeeze=False)[0]
    axes = left.subplots()
    _draw_matrix(axes, name, weights, (0, len(weights)))
    _number_positions(axes, len(weights))
    axes.set_xlabel(f"key: {seen.key}", fontsize=SMALL)
    axes.set_ylabel(f"{seen.query}, row by row", fontsize=SMALL)
    digit, *places = right.subplots(2, 2).flat
    ((answer, is_right),) = seen.answers
    _draw_digit(digit, seen.images[0])
    digit.set_title(f"→ {answer}", fontsize=TEXT, color=_RIGHT if is_right else _WRONG)
    for place, query in zip(places, chosen, strict=True):
        _draw_digit(place, seen.images[0], weights[query].reshape(SIDE, SIDE))
        place.plot(query % SIDE, query // SIDE, "s", markersize=12, fillstyle="none", color=_CHOSEN)
        place.set_title(f"{seen.query} {query}, up to {weights[query].max():.2f}", fontsize=SMALL, color=_CHOSEN)
    return figure


def _draw_strip(
    axes: Axes, images: Numbers, extent: tuple[int, int] | None = None, weights: Numbers | None = None
) -> None:
    """Digits side by side, under a glow where there are weights; `extent` is what the axis shows of the columns."""
    across = SIDE * len(images)
    first, last = extent or (0, across)
    ink = np.concatenate(list(images), axis=1)
    axes.imshow(
        ink, cmap=_INK, vmin=0, vmax=1.15 if weights is None else 2.0, extent=(0, across, SIDE, 0), aspect="auto"
    )
    if weights is not None:
        glow = weights[None] / weights.max()
        axes.imshow(np.ones_like(glow), cmap=_GLOW, alpha=0.85 * glow, extent=(first, last, SIDE, 0), aspect="auto")
    for edge in range(0, across + 1, SIDE):
        axes.axvline(edge, color=_LINE, linewidth=0.7)
    axes.set(xlim=(first, last), xticks=[], yticks=[])
    _thin(axes)


def _draw_digit(axes: Axes, image: Numbers, weights: Numbers | None = None) -> None:
    axes.imshow(image, cmap=_INK, vmin=0, vmax=1.15 if weights is None else 2.0)
    if weights is not None:
        axes.imshow(np.ones_like(weights), cmap=_GLOW, alpha=0.85 * weights / weights.max())
    axes.set(xticks=[], yticks=[])
    _thin(axes)


def _draw_matrix(axes: Axes, name: str, weights: Numbers, extent: tuple[int, int] | None = None) -> None:
    """Weights in blue: white for none, the darkest for the largest of the panel; `extent` numbers its positions."""
    if extent is None:
        axes.imshow(weights, cmap=_HEAT, vmin=0, aspect="auto", interpolation="nearest")
        for edge in range(SIDE, weights.shape[1], SIDE):
            axes.axvline(edge - 0.5, color=_LINE, linewidth=0.5)
    else:
        first, last = extent
        axes.imshow(
            weights, cmap=_HEAT, vmin=0, aspect="auto", extent=(first, last, last, first), interpolation="nearest"
        )
        for edge in range(0, last, SIDE):
            axes.axvline(edge, color=_LINE, linewidth=0.5)
            axes.axhline(edge, color=_LINE, linewidth=0.5)
    axes.set_title(f"{name}, up to {weights.max():.2f}", fontsize=SMALL, loc="left")
    axes.tick_params(which="both", labelsize=SMALL - 1, length=0)
    _thin(axes)


def _number_positions(axes: Axes, last: int) -> None:
    """Numbers along both sides of a square matrix, a digit's width apart."""
    ticks = list(range(0, last + 1, SIDE))
    axes.set_xticks(ticks)
    axes.set_yticks(ticks)


def _thin(axes: Axes) -> None:
    for spine in axes.spines.values():
        spine.set(color=_LINE, linewidth=0.6)
