"""A heat map of where a model looked, drawn over the image it looked at (needs Pillow: the `cli` extra)."""

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

_MIN_SIDE = 256  # pixels; smaller images are enlarged so that their cells can be seen
_OPACITY = 0.65  # of the hottest cell; a cold cell leaves the image as it is
# Cold to hot: dark blue, red, yellow, white. Ordered by lightness too, so that it reads in grey.
_RAMP = np.array([(20, 20, 90), (190, 30, 60), (250, 190, 40), (255, 255, 235)], np.float32)


def overlay(image: bytes | Path, cells: npt.NDArray[np.float32]) -> bytes:
    """Draws weights of shape (rows, columns) over an image file's pixels and returns a PNG.

    The hottest cell is shown at full heat, zero as none. The weights are stretched over the whole image, which is
    right for codecs that resize without cropping.
    Raises ValueError if `cells` is not 2-D, or is empty or not finite, OSError if the image cannot be read.
    """
    if cells.ndim != 2 or not cells.size or not np.isfinite(cells).all():
        raise ValueError(f"weights must be finite and of shape (rows, columns), not {cells.shape}")
    with Image.open(image if isinstance(image, Path) else io.BytesIO(image)) as opened:
        picture = _enlarged(_flat(ImageOps.exif_transpose(opened)))
    heat = _stretched(cells, picture.size)
    alpha = _OPACITY * heat[..., None]
    blended = (1 - alpha) * np.asarray(picture, np.float32) + alpha * colours(heat)
    png = io.BytesIO()
    Image.fromarray(blended.round().astype(np.uint8)).save(png, format="PNG")
    return png.getvalue()


def _flat(picture: Image.Image) -> Image.Image:
    """Opaque RGB, transparency laid on white as the server's codec does."""
    layer = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")


def _enlarged(picture: Image.Image) -> Image.Image:
    """At least `_MIN_SIDE` pixels on the short side, by a whole factor so that pixels stay square."""
    factor = -(-_MIN_SIDE // min(picture.size))
    if factor <= 1:
        return picture
    return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)


def _stretched(cells: npt.NDArray[np.float32], size: tuple[int, int]) -> npt.NDArray[np.float32]:
    """(rows, columns) -> (height, width), in 0 to 1."""
    hottest = float(cells.max())
    scaled = np.clip(cells / hottest, 0, 1) if hottest > 0 else np.zeros_like(cells)
    grey = Image.fromarray(scaled.astype(np.float32))
    return np.clip(np.asarray(grey.resize(size, Image.Resampling.BILINEAR), np.float32), 0, 1)


def colours(heat: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """(height, width) in 0 to 1 -> red, green, blue (height, width, 3) in 0 to 255, linear between the ramp's stops."""
    stops = np.linspace(0, 1, len(_RAMP))
    return np.stack([np.interp(heat, stops, _RAMP[:, channel]) for channel in range(3)], axis=-1).astype(np.float32)
