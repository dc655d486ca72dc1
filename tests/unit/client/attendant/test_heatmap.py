import io
from io import BytesIO

import numpy as np
import pytest
from attendant.attention import AttentionMap, Axis, Token, Tokens
from attendant.heatmap import alignment, overlay
from PIL import Image


def png(size: tuple[int, int], colour: str = "gray", mode: str = "RGB") -> bytes:
    content = io.BytesIO()
    Image.new(mode, size, colour).save(content, format="PNG")
    return content.getvalue()


def pixels(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as image:
        assert (image.format, image.mode) == ("PNG", "RGB")
        return np.asarray(image, np.float32)


def test_hot_cell_is_drawn_where_it_lies():
    cells = np.zeros((2, 2), np.float32)
    cells[0, 1] = 0.3
    drawn = pixels(overlay(png((8, 8)), cells))
    changed = np.abs(drawn - 128).sum(axis=-1)
    assert drawn.shape == (256, 256, 3)
    assert changed[:64, 192:].min() > 50
    assert changed[192:, :64].max() == 0


def test_small_image_is_enlarged_by_a_whole_factor_and_a_large_one_is_kept():
    cells = np.ones((1, 1), np.float32)
    assert pixels(overlay(png((10, 20)), cells)).shape == (520, 260, 3)
    assert pixels(overlay(png((300, 400)), cells)).shape == (400, 300, 3)


def test_no_weight_anywhere_leaves_the_image_as_it_is():
    assert (pixels(overlay(png((256, 256)), np.zeros((4, 4), np.float32))) == 128).all()


def test_transparent_pixels_are_white():
    assert (pixels(overlay(png((256, 256), "#00000000", "RGBA"), np.zeros((1, 1), np.float32))) == 255).all()


def test_rotated_photo_is_set_upright():
    content = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (300, 400)).save(content, format="JPEG", exif=exif)
    assert pixels(overlay(content.getvalue(), np.zeros((1, 1), np.float32))).shape == (300, 400, 3)


def test_image_is_read_from_a_path(tmp_path):
    (tmp_path / "digit.png").write_bytes(png((8, 8)))
    assert pixels(overlay(tmp_path / "digit.png", np.zeros((1, 1), np.float32))).shape == (256, 256, 3)


@pytest.mark.parametrize("wrong", [np.zeros(4), np.zeros((0, 2)), np.full((1, 1), np.nan)])
def test_weights_that_are_no_grid_are_refused(wrong):
    with pytest.raises(ValueError, match="rows, columns"):
        overlay(png((8, 8)), wrong.astype(np.float32))


def test_bytes_that_are_no_image_are_refused():
    with pytest.raises(OSError):
        overlay(b"text", np.ones((1, 1), np.float32))


def aligned(weights: np.ndarray, query: Axis = None, key: Axis = None) -> AttentionMap:
    return AttentionMap("cross", "mean", (), (), query, key, weights.astype(np.float32))


def words(*texts: str) -> Tokens:
    return Tokens(tuple(Token(text, 0, 0) for text in texts))


def drawn(attention: AttentionMap) -> Image.Image:
    picture = Image.open(BytesIO(alignment(attention)))
    picture.load()
    return picture


def test_an_alignment_is_a_cell_for_each_pair_beside_the_names_of_its_tokens():
    weights = np.array([[1, 0, 0], [0, 0.5, 0]])
    picture = drawn(aligned(weights, words("one", "two"), words("eins", "zwei", "drei")))
    left, top = picture.width - 3 * 24, picture.height - 2 * 24
    assert min(left, top) > 12
    cells = [[picture.getpixel((left + 24 * x + 12, top + 24 * y + 12)) for x in range(3)] for y in range(2)]
    assert cells[0] == [(255, 255, 235), (20, 20, 90), (20, 20, 90)]
    assert cells[1][1] not in cells[0]
    assert any(picture.getpixel((x, top + 12)) != (255, 255, 255) for x in range(left))


def test_layers_and_heads_of_an_alignment_are_averaged():
    weights = np.zeros((2, 2, 1, 2))
    weights[0, 0, 0, 0] = 1
    weights[1, :, 0, 1] = 1
    picture = drawn(aligned(weights))
    assert picture.getpixel((picture.width - 12, picture.height - 12)) == (255, 255, 235)
    assert picture.getpixel((picture.width - 36, picture.height - 12)) != (255, 255, 235)


def test_weights_that_are_all_zero_are_drawn_cold():
    assert drawn(aligned(np.zeros((1, 2)))).getpixel((30, 30)) == (20, 20, 90)


@pytest.mark.parametrize("weights", [np.zeros((0, 2)), np.zeros((2, 0)), np.array([[np.nan]])])
def test_alignments_without_finite_weights_are_refused(weights):
    with pytest.raises(ValueError, match="finite"):
        alignment(aligned(weights))


def test_a_very_large_alignment_is_cut():
    assert max(drawn(aligned(np.ones((2, 600)))).size) < 24 * 512 + 200
