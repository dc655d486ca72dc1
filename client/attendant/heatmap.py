"""Heat maps of where a model looked: over the image it looked at, or token by token (needs Pillow: the `cli` extra)."""

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont, ImageOps

from attendant.attention import AttentionMap, Axis, Tokens

_MIN_SIDE = 256  # pixels; smaller images are enlarged so that their cells can be seen
_OPACITY = 0.65  # of the hottest cell; a cold cell leaves the image as it is
_CELL, _LETTER, _GAP = 24, 14, 6  # pixels: a cell's side, a letter's height, what stands around names
_MOST_CELLS, _MOST_CHARACTERS = 512, 24
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


def alignment(attention: AttentionMap) -> bytes:
    """Draws what each query looked at, a line for each with its keys as columns, and returns a PNG.

    Layers and heads are averaged. The hottest cell is shown at full heat, zero at none. Tokens are written beside their
    lines and columns; of other positions only the numbers are. What does not fit a picture of 512 cells a side is left
    out.
    Raises ValueError if there is no query or no key, or a weight is not finite.
    """
    dense = attention.dense()
    if not dense.size or not np.isfinite(dense).all():
        raise ValueError(f"weights must be finite and of shape (queries, keys), not {dense.shape}")
    mean: npt.NDArray[np.float32] = dense.reshape(-1, *dense.shape[-2:]).mean(axis=0, dtype=np.float32)
    weights = mean[:_MOST_CELLS, :_MOST_CELLS]
    rows = _names(attention.query, weights.shape[0])
    columns = _names(attention.key, weights.shape[1])
    left, top = (max(_width(name) for name in names) + 2 * _GAP for names in (rows, columns))
    hottest = float(weights.max())
    heat = np.clip(weights / hottest, 0, 1) if hottest > 0 else np.zeros_like(weights)
    cells = Image.fromarray(colours(heat).round().astype(np.uint8))
    grid = cells.resize((cells.width * _CELL, cells.height * _CELL), Image.Resampling.NEAREST)
    picture = Image.new("RGB", (left + grid.width, top + grid.height), "white")
    picture.paste(grid, (left, top))
    for number, name in enumerate(rows):
        picture.paste(_label(name), (_GAP, top + number * _CELL))
    for number, name in enumerate(columns):
        picture.paste(_label(name).transpose(Image.Transpose.ROTATE_90), (left + number * _CELL, _GAP))
    png = io.BytesIO()
    picture.save(png, format="PNG")
    return png.getvalue()


def _names(axis: Axis, size: int) -> list[str]:
    """A name for each position, short enough to stand beside a cell."""
    if isinstance(axis, Tokens):
        return [token.text[:_MOST_CHARACTERS] for token in axis.tokens[:size]]
    return [str(number) for number in range(size)]


def _width(name: str) -> int:
    return max(1, round(ImageFont.load_default(_LETTER).getlength(name)))


def _label(name: str) -> Image.Image:
    """A name in a cell's height, as wide as it is."""
    label = Image.new("RGB", (_width(name) + _GAP, _CELL), "white")
    ImageDraw.Draw(label).text((0, _CELL / 2), name, fill="black", font=ImageFont.load_default(_LETTER), anchor="lm")
    return label


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
