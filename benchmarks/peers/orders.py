"""How a plan without a server is told to run: orders on its standard input, answers in files.

A plan stays up between its runs as a server does, so that each run finds it warm. This module runs in the plan's own
environment: it needs numpy, and nothing of the project.
"""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
Vector = NDArray[np.float32]

SCRATCH = "BENCH_SCRATCH"
"""The variable that names a folder to write to."""
READY = "ready"
"""The file below the scratch folder that appears when the plan waits for its first order."""

Answered = list[tuple[int, float, Vector]]
"""Request, when it was done in seconds after the start, answer."""

WANTED = "wanted"
"""In the file of a list that has text written: how many tokens each request is to have."""


class Written(NamedTuple):
    """A text; times are in seconds after the start."""

    request: int
    began_s: float
    """When it got its place."""
    done_s: float
    ids: Ids


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
        self._write(requests=np.array([number for number, _ in kept], dtype=np.int64), vectors=vectors)

    def answer_texts(self, found: Sequence[Written]) -> None:
        """Writes all that was written, whenever it was."""
        self._write(
            requests=np.array([text.request for text in found], dtype=np.int64),
            began_s=np.array([text.began_s for text in found]),
            done_s=np.array([text.done_s for text in found]),
            sizes=np.array([len(text.ids) for text in found], dtype=np.int64),
            ids=np.concatenate([np.zeros(0, dtype=np.int64), *(text.ids for text in found)]),
        )

    def _write(self, **arrays: NDArray[Any]) -> None:
        draft = Path(self.answers).with_name("draft.npz")
        np.savez(draft, allow_pickle=False, **arrays)
        draft.rename(self.answers)


def orders() -> Iterator[Order]:
    """The orders as they come, until nobody gives any more; to be asked for once the plan is ready."""
    (Path(os.environ[SCRATCH]) / READY).touch()
    for line in sys.stdin:
        yield Order(**json.loads(line))


def read_rows(source: str) -> list[Ids]:
    """The ids of each request, in order."""
    with np.load(source, allow_pickle=False) as archive:
        return [archive[str(number)] for number in range(len(archive.files) - (WANTED in archive.files))]


def read_wanted(source: str) -> list[int]:
    """How many tokens each request is to have, in order."""
    with np.load(source, allow_pickle=False) as archive:
        wanted: list[int] = archive[WANTED].tolist()
    return wanted


def read_texts(answers: str) -> list[Written]:
    """What `Order.answer_texts` wrote."""
    with np.load(answers, allow_pickle=False) as archive:
        ids = np.split(archive["ids"], np.cumsum(archive["sizes"])[:-1])
        columns = (archive[name].tolist() for name in ("requests", "began_s", "done_s"))
        return [Written(*row) for row in zip(*columns, ids, strict=True)] if len(archive["sizes"]) else []
