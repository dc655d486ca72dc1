"""Draws where a served model looked: four held-out digits and the tokens of a sentence.

make serve                                   # in another terminal
python -m examples.attention_figure --out docs/images/attention.png
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from attendant import Attention, Classification, Client, Tokens
from matplotlib.axes import Axes
from PIL import Image

SENTENCE = "Compute the eigenvalues and right eigenvectors of a square matrix."
DIGITS = 4


def main() -> None:
    """Asks the server and writes the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--address", default="127.0.0.1:8001")
    parser.add_argument("--samples", type=Path, default=Path("runs/digits/checkpoint/samples"))
    parser.add_argument("--out", type=Path, default=Path("attention.png"))
    options = parser.parse_args()
    images = sorted(options.samples.glob("*.png"))[:DIGITS]
    with Client(options.address) as client:
        digits = client.classify("digits", images, attention=True)
        sentence = client.classify("areas", SENTENCE, attention=Attention(reduction="mean_heads"))
    widths = [1.0] * len(images) + [1.55]
    figure, axes = plt.subplots(1, len(widths), figsize=(12.5, 2.9), width_ratios=widths, dpi=110)
    for place, image, result in zip(axes, images, digits, strict=False):
        draw_cells(place, image, result)
    draw_tokens(axes[-1], sentence[0])
    figure.tight_layout()
    figure.savefig(options.out)


def draw_cells(axes: Axes, image: Path, result: Classification) -> None:
    """The image, and over it how much each cell was looked at."""
    cells = result.attention[0].cell_weights()
    axes.imshow(np.asarray(Image.open(image)), cmap="gray")
    axes.imshow(cells, cmap="inferno", alpha=0.85 * cells / cells.max())
    axes.set_title(_title(result), fontsize=10)
    axes.set_axis_off()


def draw_tokens(axes: Axes, result: Classification) -> None:
    """The first layer's weights, the mean over its heads: queries down, keys across."""
    attention = result.attention[0]
    names = [token.text for token in attention.key.tokens] if isinstance(attention.key, Tokens) else []
    axes.imshow(attention.weights[0], cmap="viridis")
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.set_title(f"{_title(result)}, layer 0", fontsize=10)


def _title(result: Classification) -> str:
    return f"{result.best.name} ({result.best.score:.0%})" if result.best else "nothing"


if __name__ == "__main__":
    main()
