from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from models.explain.explanation import Missing
from models.explain.figure import draw_ablation, draw_relevance, draw_weights
from tests.unit.models.explain.made_up import HOSTILE, across, explanation, over_text


def drawn(file):
    """Whether a picture was written, and shows more than its background."""
    with Image.open(file) as picture:
        return picture.format == "PNG" and len(set(np.asarray(picture.convert("L")).ravel().tolist())) > 10


@pytest.mark.parametrize("words", [["one"], HOSTILE.split(), ["word"] * 100], ids=["one", "hostile", "long"])
def test_pictures_of_a_text_are_drawn(words, tmp_path):
    mechanism = over_text(words)
    made_up = explanation(mechanism, labels=(HOSTILE, "no"))
    for draw in (draw_weights, draw_relevance, draw_ablation):
        assert draw(made_up, mechanism, tmp_path / "picture.png")
        assert drawn(tmp_path / "picture.png")


def test_pictures_over_an_image_are_drawn(tmp_path, image):
    made_up = explanation(across(), text=None, image=image.read_bytes())
    assert draw_weights(made_up, across(), tmp_path / "weights.png")
    assert draw_relevance(made_up, across(), tmp_path / "relevance.png")
    assert drawn(tmp_path / "weights.png")
    assert drawn(tmp_path / "relevance.png")


def test_cells_without_an_image_are_numbered(tmp_path):
    assert draw_relevance(explanation(across()), across(), tmp_path / "relevance.png")
    assert draw_weights(explanation(across()), across(), tmp_path / "weights.png")


def test_what_is_missing_is_not_drawn(tmp_path):
    made_up = explanation(across())
    nothing = replace(across(), gradient=Missing("no network"))
    assert not draw_relevance(made_up, nothing, tmp_path / "relevance.png")
    assert not draw_ablation(made_up, nothing, tmp_path / "ablation.png")
    assert list(tmp_path.iterdir()) == []


def test_picture_of_many_heads_stays_of_a_size_that_opens(tmp_path):
    mechanism = over_text(["a", "b"], layers=18, heads=2)
    draw_weights(explanation(mechanism), mechanism, tmp_path / "weights.png")
    with Image.open(tmp_path / "weights.png") as picture:
        assert max(picture.size) < 5000
