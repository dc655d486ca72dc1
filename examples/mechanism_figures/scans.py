"""The data: scikit-learn's digits, one by one or several side by side on a strip."""

from io import BytesIO
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from models.data.digits import labelled_digits

SIDE = 8
"""Pixels along each side of a digit."""
CLASSES = 10


class Scans(NamedTuple):
    """Digits with their names: images (N,8,8), ink from 0 to 1; labels int64 (N,)."""

    images: Tensor
    labels: Tensor


class Strips(NamedTuple):
    """Rows of digits side by side: images (B,n,8,8), labels int64 (B,n)."""

    images: Tensor
    labels: Tensor


def load_scans(seed: int) -> tuple[Scans, Scans]:
    """The digits to train on, and those held out; the seed decides which are which."""
    digits = labelled_digits(seed)
    ink = np.stack([np.asarray(Image.open(BytesIO(content)), np.float32) / 255 for content in digits.contents])
    images, labels = torch.from_numpy(ink), torch.tensor(digits.labels)
    train, test = (torch.tensor(indices) for indices in (digits.split.train, digits.split.test))
    return Scans(images[train], labels[train]), Scans(images[test], labels[test])


def draw_strips(scans: Scans, count: int, length: int, generator: torch.Generator, *, distinct: bool) -> Strips:
    """Puts `length` digits side by side, `count` times; with `distinct` no digit stands twice on a strip.

    Raises ValueError if more distinct digits are asked for than there are.
    """
    if not distinct:
        chosen = torch.randint(len(scans.labels), (count, length), generator=generator)
        return Strips(scans.images[chosen], scans.labels[chosen])
    if length > CLASSES:
        raise ValueError(f"there are {CLASSES} distinct digits, not {length}")
    labels = torch.rand(count, CLASSES, generator=generator).argsort(dim=1)[:, :length]
    # Of the scans of its label each place takes the one with the highest draw.
    draws = torch.rand(count, length, len(scans.labels), generator=generator)
    chosen = draws.masked_fill(scans.labels != labels.unsqueeze(-1), -1.0).argmax(dim=-1)
    return Strips(scans.images[chosen], labels)
