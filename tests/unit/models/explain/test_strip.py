import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.figure import Figure

from models.explain.strip import LONGEST_TOKEN, draw_strip, drawable, place_tokens, shown
from server.codecs import Token
from tests.unit.models.explain.made_up import text_tokens


def test_tokens_stand_as_in_the_text():
    tokens = [Token("un", 0, 2), Token("done", 2, 6), Token("now", 7, 10)]
    assert [(one.text, one.column, one.line) for one in place_tokens(tokens, 40)] == [
        ("un", 0, 0),
        ("done", 2, 0),
        ("now", 7, 0),
    ]


def test_line_is_never_wider_than_its_columns():
    placed = place_tokens(text_tokens(*["word"] * 50, "x" * 100), 30)
    assert all(one.column + len(one.text) <= 30 for one in placed)
    assert next(one.column for one in placed if one.line == 1) == 0
    ends = [(one.line, one.column) for one in placed]
    assert ends == sorted(set(ends))


def test_what_cannot_be_drawn_is_replaced():
    assert shown("") == "∅"
    assert shown(" \n") == "␣␣"
    assert shown("x漢") == "x□"
    assert drawable("é 漢\t", "DejaVu Sans") == "é □□"
    assert shown("x" * 100) == "x" * (LONGEST_TOKEN - 1) + "…"


def test_dark_colours_have_white_text_and_light_ones_black():
    figure = Figure()
    axes = figure.add_axes((0, 0, 1, 1))
    placed = place_tokens(text_tokens("$\\frac{1}{$"), 20)
    draw_strip(axes, placed, np.array([0.0, 1.0], np.float32), colormaps["Blues"], 20)
    figure.canvas.draw()
    assert [text.get_color() for text in axes.texts] == ["black", "white"]


@pytest.mark.parametrize("weights", [[0.0, 0.0], [-1.0, 0.0]])
def test_nothing_that_counts_is_drawn_all_the_same(weights):
    figure = Figure()
    axes = figure.add_axes((0, 0, 1, 1))
    draw_strip(axes, place_tokens(text_tokens("a"), 20), np.array(weights, np.float32), colormaps["Blues"], 20)
    assert len(axes.patches) == 2
