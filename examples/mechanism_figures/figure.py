"""One mechanism's picture: its reader trained, judged, and its weights drawn on held-out digits."""

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import torch
from matplotlib.figure import Figure
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from examples.mechanism_figures.drawing import Seen, among_columns, over_map, over_strip, single_digits
from examples.mechanism_figures.reader import Reader, Reading
from examples.mechanism_figures.scans import Scans, Strips, draw_strips
from examples.mechanism_figures.studies import Study
from examples.mechanism_figures.training import judge, train
from models.attention.catalogue import Catalogued

SEED = 0
SHOWN_SEED = 12
"""Draws the digits that are shown: ones that a person, too, can read at eight pixels."""
DIGITS_SHOWN = 6
"""How many single digits a picture shows."""
COLOURS = 128
"""Of the picture's palette, which makes the file half as large."""
CAPTION_KEY = "Description"
"""The text field of the PNG file that holds the caption."""


class NotLearned(RuntimeError):
    """A reader that answers too little right: its weights would say nothing about the mechanism."""


@dataclass(frozen=True)
class Judged:
    """A trained reader and the share of held-out answers that it gets right."""

    reader: Reader
    accuracy: float


def learn(entry: Catalogued, study: Study, training: Scans, held_out: Scans) -> Judged:
    """Trains a mechanism's reader from a fixed seed. Raises NotLearned if it then reads too badly."""
    torch.manual_seed(SEED)
    reader = study.build(entry)
    generator = torch.Generator().manual_seed(SEED)
    train(reader, training, study.steps, generator)
    reader.eval()
    accuracy = judge(reader, held_out, generator)
    if accuracy < study.required:
        raise NotLearned(
            f"the reader of {entry.name} gets {accuracy:.1%} of the held-out {reader.asks} right, "
            f"expected at least {study.required:.0%}"
        )
    return Judged(reader, accuracy)


def caption(study: Study, judged: Judged) -> str:
    """How well the reader reads, for the page and for the file itself."""
    return (
        f"After {study.steps} steps of training the reader gets {judged.accuracy:.1%} of the held-out "
        f"{judged.reader.asks} right; {study.required:.0%} are required."
    )


@torch.no_grad()
def draw(reader: Reader, held_out: Scans) -> Figure:
    """The picture of a trained reader's weights on held-out digits, the same ones for all readers of a kind."""
    single = reader.layout == "digits"
    generator = torch.Generator().manual_seed(SHOWN_SEED)
    length = DIGITS_SHOWN if single else reader.num_digits
    strips = draw_strips(held_out, 1, length, generator, distinct=True)
    if single:  # each a strip of its own
        strips = Strips(strips.images.transpose(0, 1), strips.labels.transpose(0, 1))
    reading = reader(strips.images)
    seen = [_seen(reader, strips, reading, row) for row in range(len(strips.images))]
    if reader.layout == "strip":
        return over_strip(seen[0])
    if reader.layout == "square":
        return among_columns(seen[0], reader.shown)
    return single_digits(seen) if single else over_map(seen[0], reader.shown)


def save(figure: Figure, told: str, file: Path) -> None:
    """Writes the picture as PNG, the caption in its text field."""
    file.parent.mkdir(parents=True, exist_ok=True)
    drawn = BytesIO()
    figure.savefig(drawn, format="png")
    described = PngInfo()
    described.add_itxt(CAPTION_KEY, told)
    picture = Image.open(drawn).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    picture.save(file, optimize=True, pnginfo=described)


def _seen(reader: Reader, strips: Strips, reading: Reading, row: int) -> Seen:
    answers, expected = reading.scores[row].argmax(-1).tolist(), reader.expected(strips.labels)[row].tolist()
    return Seen(
        images=strips.images[row].numpy(),
        weights={name: weights[row].numpy() for name, weights in reading.weights.items()},
        query=reader.query,
        key=reader.key,
        answers=[
            (reader.spelled(answer, strips.labels[row]), answer == right)
            for answer, right in zip(answers, expected, strict=True)
        ],
    )
