"""A text drawn as its tokens, each behind a colour: lines that wrap, for any length, in any script the font knows."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.patches import Rectangle

from models.explain.explanation import Weights, spaced
from server.codecs import Token

FONT = "DejaVu Sans Mono"
"""Comes with matplotlib; every character is as wide as every other, so that lines can be filled by counting."""
CHARACTER_ASPECT = 0.602
"""Width of a character over the size of the font."""
LONGEST_TOKEN = 24
_UNKNOWN = "□"
_DARK_BELOW = 0.18
"""The luminance of a colour below which white text on it reads better than black."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A token's place, in characters and lines."""

    text: str
    column: int
    line: int


def place_tokens(tokens: Sequence[Token], columns: int) -> list[Placed]:
    """Fills lines of so many characters: a space where the text had one, a new line where a token does not fit."""
    placed: list[Placed] = []
    column = line = 0
    for token, space in zip(tokens, spaced(tokens), strict=True):
        text, gap = shown(token.text, min(LONGEST_TOKEN, columns)), int(space)
        if column + gap + len(text) > columns and column:
            column, line, gap = 0, line + 1, 0
        placed.append(Placed(text, column + gap, line))
        column += gap + len(text)
    return placed


def draw_strip(axes: Axes, placed: Sequence[Placed], weights: Weights, colours: Colormap, columns: int) -> None:
    """Draws placed tokens on axes of their own; the largest weight has the darkest colour."""
    lines = placed[-1].line + 1
    largest = float(weights.max()) or 1.0
    axes.set(xlim=(0, columns), ylim=(lines, 0))
    axes.set_axis_off()
    size = _font_size(axes, columns)
    for token, weight in zip(placed, weights.tolist(), strict=True):
        colour = colours(max(0.0, weight / largest))
        box = Rectangle((token.column, token.line + 0.08), len(token.text), 0.84, color=colour, linewidth=0)
        axes.add_patch(box)
        axes.text(
            token.column + len(token.text) / 2,
            token.line + 0.5,
            token.text,
            family=FONT,
            fontsize=size,
            color="white" if _luminance(colour) < _DARK_BELOW else "black",
            horizontalalignment="center",
            verticalalignment="center_baseline",
            parse_math=False,
        )


def shown(text: str, longest: int = LONGEST_TOKEN) -> str:
    """A token as it can be drawn: on one line, cut if it is long, a box for each character that the font lacks."""
    visible = "".join("␣" if character.isspace() else character for character in text) or "∅"
    return drawable(visible if len(visible) <= longest else visible[: max(1, longest - 1)] + "…")


def drawable(text: str, font: str = FONT) -> str:
    """The text with a box for each character that the font lacks; matplotlib would warn of each and draw one too."""
    return "".join(character if ord(character) in _characters(font) else _UNKNOWN for character in text)


def _luminance(colour: Sequence[float]) -> float:
    """Relative luminance as WCAG 2 defines it, 0 to 1."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour[:3]]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _font_size(axes: Axes, columns: int) -> float:
    """The size, in points, at which a full line fills the axes."""
    figure = axes.get_figure(root=True)
    assert figure is not None  # noqa: S101 - these axes belong to one
    width = axes.get_position().width * figure.get_figwidth() * 72
    return width / columns / CHARACTER_ASPECT


@functools.cache
def _characters(font: str) -> frozenset[int]:
    return frozenset(get_font(findfont(FontProperties(family=font))).get_charmap())
