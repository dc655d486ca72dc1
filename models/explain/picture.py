"""The image that was explained, as a person would look at it."""

import base64
import io

from PIL import Image, ImageOps

MAX_SIDE = 640
"""Pixels; larger images are shown smaller."""


def upright(content: bytes) -> Image.Image:
    """The image as the codec reads it: set upright, transparency on white, RGB, at most `MAX_SIDE` on a side.

    The content has been through the codec, so that it is known to be readable.
    """
    with Image.open(io.BytesIO(content)) as opened:
        opened.load()
        try:
            turned = ImageOps.exif_transpose(opened)
        except Exception:  # broken metadata does not make the pixels unreadable: the codec too takes it as upright
            turned = opened.copy()
    layer = turned.convert("RGBA")
    flat = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    flat.thumbnail((MAX_SIDE, MAX_SIDE))
    return flat


def data_uri(picture: Image.Image) -> str:
    """The picture as a PNG inside a `data:` address."""
    encoded = io.BytesIO()
    picture.save(encoded, format="PNG")
    return f"data:image/png;base64,{base64.b64encode(encoded.getvalue()).decode()}"
