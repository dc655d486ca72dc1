"""`golden.npz`: a few inputs with the answers that this machine gave, to be replayed by every host that loads them.

Arrays are named `input.<row>.<name>` and `output.<row>.<name>` and have a leading row axis of 1; no pickle. Of a model
that writes token by token the inputs have `tokens`, int64 [1, T], which are fed one after another, and the outputs are
the logits after each of them, [1, T, vocabulary].
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from models.export.rows import Row
from models.export.walk import Walker
from models.networks.stepwise import TOKENS
from server.manifest import GOLDEN_FILE
from server.runtime.session import Session
from server.tensors import Array

GOLDEN_ROWS = 4
GOLDEN_TEXTS = 2
GOLDEN_TOKENS = 4
"""Few, because each has as many numbers as the vocabulary has tokens."""


def write_golden(directory: Path, session: Session, samples: Sequence[Row]) -> str:
    """Writes the answers to the smallest samples, all outputs included, and returns the file's name.

    The smallest, because they are replayed at every start and attention maps grow with the square of the length.
    """
    chosen = sorted(samples, key=lambda row: sum(array.size for array in row.values()))[:GOLDEN_ROWS]
    arrays: dict[str, Array] = {}
    for index, row in enumerate(chosen):
        arrays |= {f"input.{index}.{name}": array for name, array in row.items()}
        arrays |= {f"output.{index}.{name}": array for name, array in session.run(row).items()}
    np.savez_compressed(directory / GOLDEN_FILE, allow_pickle=False, **arrays)
    return GOLDEN_FILE


def write_golden_texts(directory: Path, walker: Walker, texts: Sequence[Row]) -> str:
    """Writes the logits of the smallest texts after each of their first tokens, and returns the file's name."""
    chosen = sorted(texts, key=lambda row: sum(array.size for array in row.values()))[:GOLDEN_TEXTS]
    arrays: dict[str, Array] = {}
    logits = walker.generation.logits
    for index, text in enumerate(chosen):
        row = {**text, TOKENS: text[TOKENS][:, :GOLDEN_TOKENS]}
        arrays |= {f"input.{index}.{name}": array for name, array in row.items()}
        arrays[f"output.{index}.{logits}"] = walker.walk([row])[0][logits]
    np.savez_compressed(directory / GOLDEN_FILE, allow_pickle=False, **arrays)
    return GOLDEN_FILE


def read_golden(path: Path) -> Iterator[tuple[Row, Row]]:
    """The pairs of inputs and outputs, row by row."""
    with np.load(path, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    for index in range(len({name.split(".", 2)[1] for name in arrays})):
        inputs, outputs = (
            {name.removeprefix(start): array for name, array in arrays.items() if name.startswith(start)}
            for start in (f"input.{index}.", f"output.{index}.")
        )
        yield inputs, outputs
