"""Trains a small reader with each mechanism on scikit-learn's digits, and draws what it looks at.

python -m examples.mechanism_figures additive
python -m examples.mechanism_figures           # all of the catalogue, some minutes
"""

import argparse
from pathlib import Path

import torch

from examples.mechanism_figures.figure import NotLearned, caption, draw, learn, save
from examples.mechanism_figures.scans import load_scans
from examples.mechanism_figures.studies import STUDIES
from models.attention.catalogue import mechanism

IMAGES = Path("docs/mechanisms/images")
DATA_SEED = 0


def main() -> None:
    """Makes the pictures asked for; exits with a message if a reader did not learn."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.mechanism_figures",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="mechanisms of the catalogue; all unless given")
    parser.add_argument("--out", type=Path, default=IMAGES, help=f"folder of the pictures, by default {IMAGES}")
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in STUDIES]
    if unknown:
        parser.error(f"no mechanism is called {', '.join(unknown)}; those are {', '.join(STUDIES)}")
    torch.set_num_threads(1)  # sums in one order, so that any number of cores gives the same picture
    training, held_out = load_scans(DATA_SEED)
    for name in options.names or STUDIES:
        try:
            judged = learn(mechanism(name), STUDIES[name], training, held_out)
        except NotLearned as error:
            parser.exit(1, f"{error}\n")
        told = caption(STUDIES[name], judged)
        save(draw(judged.reader, held_out), told, options.out / f"{name}.png")
        print(f"{name}: {told}", flush=True)


if __name__ == "__main__":
    main()
