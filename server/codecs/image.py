"""Encoded images to normalised pixels, with Pillow."""

import logging
import warnings
from io import BytesIO
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from server.codecs.codec import CodecLimits, EncodedRow
from server.errors import EmptyInput, PayloadTooLarge, ServeError, UndecodableInput
from server.manifest import ImageCodecSpec

_log = logging.getLogger(__name__)

# Pillow warns of odd metadata and of sizes that are refused here anyway. Python remembers each distinct text for ever,
# and these quote the caller's numbers: a stream of such images would fill memory and the log.
warnings.filterwarnings("ignore", module=r"PIL\.")

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
"""What is decoded; Pillow's other decoders are never reached, some of them run external programs."""

BACKGROUND = (255, 255, 255, 255)
"""What shows through transparency: white, as under a drawing on paper, so that dark strokes stay visible."""

_EXIF_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation to what sets the image upright; 1 is upright already."""

_RESAMPLE = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}


class ImageCodec:
    """Encodes one PNG, JPEG, WebP, GIF or BMP as float32 [1, channels, height, width].

    Of several frames the first counts; EXIF orientation is applied; transparency is laid on white. The whole image is
    resized to the model's size without keeping its aspect ratio. Safe to use from several threads.
    """

    kind: ClassVar[Literal["image"]] = "image"

    def __init__(self, spec: ImageCodecSpec, limits: CodecLimits | None = None) -> None:
        self.spec = spec
        limit = (limits or CodecLimits()).max_image_pixels
        # Pillow refuses by its own global bound too; changing it would race with other threads.
        own = Image.MAX_IMAGE_PIXELS
        self._max_pixels = limit if own is None else min(limit, 2 * own)
        channels = len(spec.mode)
        self._mean = np.broadcast_to(np.asarray(spec.mean, np.float32), channels)[:, None, None]
        self._std = np.broadcast_to(np.asarray(spec.std, np.float32), channels)[:, None, None]

    def encode(self, content: bytes) -> EncodedRow:
        """Decodes, sets upright, resizes, scales to 0..1 and normalises one image.

        Raises EmptyInput for no bytes, PayloadTooLarge for too many pixels (by the header, before decoding),
        UndecodableInput for another format and for broken or truncated bytes.
        """
        if not content:
            raise EmptyInput("the image has no bytes")
        try:
            with Image.open(BytesIO(content), formats=FORMATS) as image:
                self._check_pixels(image)
                return self._encode(image)
        except ServeError:
            raise
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            raise self._too_large() from None
        except Exception as error:  # on hostile bytes, decoders raise almost anything
            _log.debug("an image was refused", extra={"error": type(error).__name__})
            raise UndecodableInput(f"the bytes are not a readable image; {', '.join(FORMATS)} are taken") from None

    def _check_pixels(self, image: Image.Image) -> None:
        pixels = image.width * image.height
        if pixels > self._max_pixels:
            raise self._too_large(f": {image.width} x {image.height}")

    def _too_large(self, size: str = "") -> PayloadTooLarge:
        return PayloadTooLarge(
            f"the image has too many pixels{size}; at most {self._max_pixels} are taken",
            {"max_pixels": str(self._max_pixels)},
        )

    def _encode(self, image: Image.Image) -> EncodedRow:
        image.load()
        orientation = _orientation(image)
        flat = _flatten(image, self.spec.mode)
        upright = flat.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else flat
        resized = upright.resize((self.spec.width, self.spec.height), _RESAMPLE[self.spec.resample])
        scaled = np.asarray(resized, dtype=np.float32).reshape(self.spec.height, self.spec.width, -1) / np.float32(255)
        pixels = (scaled.transpose(2, 0, 1) - self._mean) / self._std
        return EncodedRow({self.spec.pixels: np.ascontiguousarray(pixels[None], dtype=np.float32)})


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8; broken metadata does not make the pixels unreadable, so it counts as upright."""
    try:
        return int(image.getexif().get(_EXIF_ORIENTATION, 1))
    except Exception:
        return 1


def _flatten(image: Image.Image, mode: str) -> Image.Image:
    """Any of Pillow's modes to opaque 8-bit `mode`."""
    if image.mode == "F" or image.mode.startswith("I"):
        return _to_8_bits(image).convert(mode)
    if "transparency" not in image.info and image.mode not in ("LA", "La", "PA", "RGBA", "RGBa"):
        return image.convert(mode)
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, BACKGROUND), layer).convert(mode)


def _to_8_bits(image: Image.Image) -> Image.Image:
    """16-bit grey to 8 bits; Pillow's own conversion clips at 255 and so turns almost everything white."""
    grey: NDArray[np.float64] = np.asarray(image, dtype=np.float64)
    return Image.fromarray(np.clip(np.rint(grey / 257), 0, 255).astype(np.uint8))
