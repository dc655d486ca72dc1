"""How a plan without a server is told to run: orders on its standard input, answers in files.

A plan stays up between its runs as a server does, so that each run finds it warm. This module runs in the plan's own
environment: it needs numpy, and nothing of the project.
"""

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.peers.encoder import SCRATCH, Ids, Vector

READY = "ready"
"""The file below the scratch folder that appears when the plan waits for its first order."""

Answered = list[tuple[int, float, Vector]]
"""Request, when it was done in seconds after the start, answer."""


@dataclass(frozen=True)
class Order:
    """One run."""

    rows: str
    """An `.npz` of each request's ids by its number; a list of the same name is the same list."""
    answers: str
    """The `.npz` to write: it appears when it is complete."""
    warm_up_s: float
    measured_s: float
    in_flight: int
    """Callers; a plan that always has work does not ask."""

    def line(self) -> str:
        """As it is sent."""
        return json.dumps(asdict(self)) + "\n"

    @property
    def end_s(self) -> float:
        """When the last call may begin."""
        return self.warm_up_s + self.measured_s

    def answer(self, found: Answered) -> None:
        """Writes what was done in the measured time."""
        kept = [(number, vector) for number, done, vector in found if self.warm_up_s <= done < self.end_s]
        vectors = np.stack([vector for _, vector in kept]) if kept else np.zeros((0, 0), dtype=np.float32)
        draft = Path(self.answers).with_name("draft.npz")
        np.savez(draft, requests=np.array([number for number, _ in kept], dtype=np.int64), vectors=vectors)
        draft.rename(self.answers)


def orders() -> Iterator[Order]:
    """The orders as they come, until nobody gives any more; to be asked for once the plan is ready."""
    (Path(os.environ[SCRATCH]) / READY).touch()
    for line in sys.stdin:
        yield Order(**json.loads(line))


def read_rows(source: str) -> list[Ids]:
    """The ids of each request, in order."""
    with np.load(source, allow_pickle=False) as archive:
        return [archive[str(number)] for number in range(len(archive.files))]
