"""The explanation as PNG pictures: a grid of heads, what rollout and gradients say, and what each head is worth."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from PIL import Image

from models.explain.explanation import (
    Explanation,
    Gradient,
    Layer,
    Mechanism,
    Missing,
    Positions,
    Weights,
    key_weights,
)
from models.explain.picture import upright
from models.explain.strip import FONT, draw_strip, drawable, place_tokens, shown
from server.codecs import Token
from server.manifest import CellAxis

DPI = 130
LABELLED_TOKENS = 40
"""The most tokens whose names stand along a heat map: more would overlap."""
STRIP_COLUMNS = 104
"""Characters on a line of a text."""
LONGEST_NAME = 60
"""Characters of a label in a title; the rest is cut off."""
_TITLE, _SMALL = 11, 8
_WORDS: dict[str, Any] = {"family": "DejaVu Sans", "parse_math": False}
"""How text that comes from elsewhere is set: in the font that `_told` knows, and never as a formula."""
_WEIGHTS, _RELEVANCE = "Blues", "Oranges"
_HEAT = ListedColormap(["#f97316"])
_RAISES, _LOWERS = "#b45309", "#1d4ed8"
_LINE_HEIGHT_INCHES = 0.24
_CROWDED_INCHES = 2.2
"""Panels smaller than this have no room for words beside them."""


def draw_weights(explanation: Explanation, mechanism: Mechanism, file: Path) -> bool:
    """One heat map for each layer and head; over an image also where the head looked, queries averaged. Always True."""
    image = _image(explanation)
    cells = isinstance(mechanism.key, CellAxis) and image is not None
    columns = max(len(layer.heads) for layer in mechanism.layers) * (2 if cells else 1)
    rows = len(mechanism.layers)
    side = _panel_inches(mechanism, max(rows, columns))
    figure = Figure(figsize=(max(side * columns + 1.2, 6.0), side * rows + 1.0), dpi=DPI, layout="constrained")
    figure.suptitle(_headline(explanation, mechanism, "attention weights"), fontsize=_TITLE, **_WORDS)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    crowded = side < _CROWDED_INCHES
    for layer, places in zip(mechanism.layers, grid, strict=True):
        _draw_layer(mechanism, layer, places, image if cells else None, crowded=crowded)
    figure.savefig(file)
    return True


def draw_relevance(explanation: Explanation, mechanism: Mechanism, file: Path) -> bool:
    """Rollout and gradients on the input itself, queries averaged; nothing, and False, where both are missing."""
    found = _relevances(explanation, mechanism)
    if not found:
        return False
    image = _image(explanation)
    if isinstance(mechanism.key, CellAxis) and image is not None:
        _relevance_on_image(explanation, mechanism, found, image).savefig(file)
    else:
        _relevance_on_text(explanation, mechanism, found).savefig(file)
    return True


def draw_ablation(explanation: Explanation, mechanism: Mechanism, file: Path) -> bool:
    """A bar for each head: the change of the label's probability without it; nothing, and False, where missing."""
    if isinstance(mechanism.ablation, Missing):
        return False
    layers = mechanism.layers
    widest = max(len(layer.heads) for layer in layers)
    size = (max(5.5, 0.7 * widest + 2.0), max(2.6, 1.15 * len(layers) + 1.3))
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    title = f"{_told(explanation.label_name)}: change of its probability, {explanation.probability:.1%}, without a head"
    figure.suptitle(title, fontsize=_TITLE, **_WORDS)
    grid = figure.subplots(len(layers), 1, squeeze=False, sharey=True)
    reach = 1.3 * max(0.01, *(abs(effect.change) for effect in mechanism.ablation))
    for layer, axes in zip(layers, grid[:, 0], strict=True):
        changes = [effect.change for effect in mechanism.ablation if effect.layer == layer.number]
        _draw_bars(axes, layer, changes, reach)
    grid[-1, 0].set_xlabel("head switched off", fontsize=_SMALL)
    figure.supylabel("percentage points", fontsize=_SMALL)
    figure.savefig(file)
    return True


def _draw_layer(
    mechanism: Mechanism, layer: Layer, places: Sequence[Axes], image: Image.Image | None, *, crowded: bool
) -> None:
    step = 1 if image is None else 2
    for index, (head, weights) in enumerate(zip(layer.heads, layer.weights, strict=True)):
        axes = places[index * step]
        axes.set_axis_on()
        axes.imshow(weights, cmap=_WEIGHTS, vmin=0.0, aspect="auto")
        if crowded:
            axes.set_title(f"{layer.number}.{head}: {weights.max():.2f}", fontsize=_SMALL)
            axes.set(xticks=[], yticks=[])
        else:
            axes.set_title(f"layer {layer.number}, head {head}, up to {weights.max():.2f}", fontsize=_SMALL + 1)
            _name_positions(axes, mechanism, with_queries=index == 0)
        if image is not None and isinstance(mechanism.key, CellAxis):
            looked_at = key_weights(weights)
            _draw_cells(places[index * step + 1], image, _on_grid(looked_at, mechanism.key))
            title = f"looked at, mean over queries, up to {looked_at.max():.2f}"
            places[index * step + 1].set_title(title, fontsize=_SMALL + 1)


def _name_positions(axes: Axes, mechanism: Mechanism, *, with_queries: bool) -> None:
    """Tokens along both sides where there is room for them, else nothing but what the sides are."""
    axes.tick_params(labelsize=_SMALL - 2, length=0)
    if _labelled(mechanism.key):
        names = [shown(token.text, 14) for token in _tokens(mechanism.key)]
        axes.set_xticks(range(len(names)), names, rotation=90, family=FONT, parse_math=False)
    else:
        axes.set_xlabel(_axis_name("key", mechanism.key), fontsize=_SMALL)
    if _labelled(mechanism.query):
        names = [shown(token.text, 14) for token in _tokens(mechanism.query)]
        axes.set_yticks(range(len(names)), names if with_queries else [], family=FONT, parse_math=False)
    elif with_queries:
        axes.set_ylabel(_axis_name("query", mechanism.query), fontsize=_SMALL)


def _draw_cells(axes: Axes, image: Image.Image, cells: Weights) -> None:
    """The image, and over it the weights, stretched as the codec stretches the image."""
    extent = (0.0, float(image.width), float(image.height), 0.0)
    # Dimmed, so that the one colour laid over it is what stands out; a cold cell leaves the image as it is.
    axes.imshow(np.asarray(image.convert("L")), cmap="gray", vmin=-120, vmax=400, extent=extent)
    largest = float(cells.max()) or 1.0
    axes.imshow(np.ones_like(cells), cmap=_HEAT, alpha=0.9 * np.clip(cells / largest, 0.0, 1.0), extent=extent)
    axes.set_axis_off()


def _relevances(explanation: Explanation, mechanism: Mechanism) -> list[tuple[str, Weights]]:
    """What is known of the input's parts, named: rollout, then gradients."""
    found: list[tuple[str, Weights]] = []
    if not isinstance(mechanism.rollout, Missing):
        found.append(("rollout: what reached the last layer, whatever the label", key_weights(mechanism.rollout)))
    if isinstance(mechanism.gradient, Gradient):
        of = f"weights × gradient: what spoke for {_told(explanation.label_name)}"
        if mechanism.gradient.combined is not None:
            found.append((of, key_weights(mechanism.gradient.combined)))
        else:
            found += [
                (f"{of}, layer {number}", key_weights(layer)) for number, layer in enumerate(mechanism.gradient.layers)
            ]
    return found


def _relevance_on_image(
    explanation: Explanation, mechanism: Mechanism, found: Sequence[tuple[str, Weights]], image: Image.Image
) -> Figure:
    assert isinstance(mechanism.key, CellAxis)  # noqa: S101
    figure = Figure(figsize=(3.1 * (len(found) + 1), 3.9), dpi=DPI, layout="constrained")
    figure.suptitle(_headline(explanation, mechanism, "where it looked"), fontsize=_TITLE, **_WORDS)
    first, *others = figure.subplots(1, len(found) + 1)
    first.imshow(np.asarray(image), extent=(0, image.width, image.height, 0))
    first.set_title("the image", fontsize=_SMALL + 1)
    first.set_axis_off()
    for axes, (title, weights) in zip(others, found, strict=True):
        _draw_cells(axes, image, _on_grid(weights, mechanism.key))
        axes.set_title(title.replace(": ", "\n", 1), fontsize=_SMALL + 1, **_WORDS)
    return figure


def _relevance_on_text(explanation: Explanation, mechanism: Mechanism, found: Sequence[tuple[str, Weights]]) -> Figure:
    placed = place_tokens(_tokens(mechanism.key), STRIP_COLUMNS)
    lines = placed[-1].line + 1
    height, gap, head = lines * _LINE_HEIGHT_INCHES, 0.42, 0.62
    total = head + len(found) * (height + gap) + 0.12
    figure = Figure(figsize=(10.0, total), dpi=DPI)
    headline = _headline(explanation, mechanism, "what counted")
    figure.text(0.02, 1 - 0.12 / total, headline, fontsize=_TITLE, verticalalignment="top", **_WORDS)
    top = total - head
    for index, (title, weights) in enumerate(found):
        axes = figure.add_axes((0.02, (top - gap - height) / total, 0.96, height / total))
        figure.text(0.02, (top - gap + 0.1) / total, title, fontsize=_SMALL + 1, **_WORDS)
        draw_strip(axes, placed, weights, mpl.colormaps[_WEIGHTS if index == 0 else _RELEVANCE], STRIP_COLUMNS)
        top -= gap + height
    return figure


def _draw_bars(axes: Axes, layer: Layer, changes: Sequence[float], reach: float) -> None:
    points = [100 * change for change in changes]
    bars = axes.bar(
        [str(head) for head in layer.heads],
        points,
        width=min(0.6, 0.2 * len(points)),
        color=[_LOWERS if p < 0 else _RAISES for p in points],
    )
    axes.bar_label(bars, [f"{point:+.1f}" for point in points], fontsize=_SMALL - 1, padding=2)
    axes.axhline(0.0, color="black", linewidth=0.8)
    axes.set_ylim(-100 * reach, 100 * reach)
    axes.set_xlim(-0.8, len(points) - 0.2)
    axes.set_title(f"layer {layer.number}", fontsize=_SMALL + 1, loc="left")
    axes.tick_params(labelsize=_SMALL - 1)
    axes.spines[["top", "right"]].set_visible(False)


def _headline(explanation: Explanation, mechanism: Mechanism, what: str) -> str:
    said = (
        "" if explanation.label_name is None else f": {_told(explanation.label_name)} ({explanation.probability:.1%})"
    )
    return f"{explanation.model} {explanation.version}{said}\n{_told(mechanism.kind)}, {what}"


def _told(name: str | None) -> str:
    """A name as a title can carry it."""
    text = name or ""
    return drawable(text if len(text) <= LONGEST_NAME else text[: LONGEST_NAME - 1] + "…", _WORDS["family"])


def _image(explanation: Explanation) -> Image.Image | None:
    return None if explanation.content.image is None else upright(explanation.content.image)


def _panel_inches(mechanism: Mechanism, across: int) -> float:
    """Large enough to read where there are few panels; never a picture of more than some thirty inches."""
    wanted = 3.0
    if _labelled(mechanism.key):
        wanted = max(2.4, 0.13 * len(_tokens(mechanism.key)) + 0.6)
    return max(1.0, min(wanted, 30.0 / across))


def _labelled(positions: Positions) -> bool:
    return not isinstance(positions, CellAxis) and len(positions) <= LABELLED_TOKENS


def _tokens(positions: Positions) -> tuple[Token, ...]:
    if isinstance(positions, CellAxis):
        return tuple(Token(str(index), 0, 0) for index in range(positions.rows * positions.columns))
    return positions


def _axis_name(role: str, positions: Positions) -> str:
    if isinstance(positions, CellAxis):
        return f"{role}: cells, row by row"
    return f"{role}: {len(positions)} tokens"


def _on_grid(weights: Weights, cells: CellAxis) -> Weights:
    return weights.reshape(cells.rows, cells.columns)
