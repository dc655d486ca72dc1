"""`golden.npz`: a few inputs with the answers that this machine gave, to be replayed by every host that loads them.

Arrays are named `input.<row>.<name>` and `output.<row>.<name>` and have a leading row axis of 1; no pickle.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from models.export.rows import Row
from server.manifest import GOLDEN_FILE
from server.runtime.session import Session
from server.tensors import Array

GOLDEN_ROWS = 4


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
