import io

import numpy as np
import pytest
from attendant.heatmap import overlay
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
