"""`digits`: scikit-learn's 1,797 handwritten digits, as PNG files, the way a caller would send them."""

from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.data.labelled import Labelled
from models.data.splits import stratified_split

SOURCE = "scikit-learn digits (UCI optical recognition of handwritten digits, test part)"
# Each pixel counts the inked points of a 4x4 block, 0 to 16.
MOST_INK = 16


def labelled_digits(seed: int) -> Labelled[bytes]:
    """The digits as 8x8 grey PNG files, bright ink on black, split so that every class has its share."""
    from sklearn.datasets import load_digits  # takes seconds to import, and most commands need no data

    digits = load_digits()
    labels = tuple(int(label) for label in digits.target)
    return Labelled(
        source=SOURCE,
        contents=tuple(encode_png(image) for image in digits.images),
        labels=labels,
        names=tuple(str(name) for name in digits.target_names),
        split=stratified_split(labels, seed),
    )


def encode_png(ink: NDArray[np.float64]) -> bytes:
    """One image of ink counts 0..16 as an 8-bit grey PNG of the same size, 16 becoming 255."""
    buffer = BytesIO()
    Image.fromarray(np.rint(ink * (255 / MOST_INK)).astype(np.uint8)).save(buffer, format="PNG")
    return buffer.getvalue()
