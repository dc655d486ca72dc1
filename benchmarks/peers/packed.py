"""Rows packed one after another, as the packed graphs of a bundle take them (`server/packed.py` says how).

The server has its own packing. A ceiling that ran the code under test would rise and fall with it, so this is another,
simpler writing of the same contract. It runs where there is only numpy.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from benchmarks.peers.encoder import Ids, Vector

RUN_TOKENS = 256
"""Of one run: more do no better on processors whose caches these fill."""
WINDOW = 128
"""Requests that are sorted by length among each other."""
NO_ROW = -1


def in_order(lengths: Sequence[int]) -> list[list[int]]:
    """Requests in the order of arrival, as many a run as fit into `RUN_TOKENS`; a longer one runs alone."""
    return list(_runs(range(len(lengths)), lengths))


def in_sorted_windows(lengths: Sequence[int]) -> list[list[int]]:
    """The same, each window of requests sorted by length first."""
    found: list[list[int]] = []
    for start in range(0, len(lengths), WINDOW):
        window = range(start, min(start + WINDOW, len(lengths)))
        found.extend(_runs(sorted(window, key=lambda number: lengths[number]), lengths))
    return found


def block_diagonal(session: Any, rows: Sequence[Ids], multiple: int) -> list[Vector]:
    """One run of the block-diagonal graph, the tokens padded to a multiple: [width] for each row."""
    lengths = [len(row) for row in rows]
    missing = -sum(lengths) % multiple
    inputs = {
        "input_ids": np.concatenate([*rows, np.zeros(missing, dtype=np.int64)]),
        "packed_positions": np.concatenate([*map(np.arange, lengths), np.zeros(missing, dtype=np.int64)]),
        "packed_segments": np.repeat([*range(len(rows)), NO_ROW], [*lengths, missing]),
        "packed_rows": np.arange(len(rows)),
    }
    return _embeddings(session, inputs)


def gathered(session: Any, rows: Sequence[Ids]) -> list[Vector]:
    """One run of the gathered graph: [width] for each row."""
    lengths = np.array([len(row) for row in rows])
    places = np.arange(lengths.max())
    present = places < lengths[:, None]
    starts = np.cumsum(lengths) - lengths
    inputs = {
        "input_ids": np.concatenate(rows),
        "packed_positions": np.concatenate([places[:length] for length in lengths]),
        "packed_gather": np.where(present, starts[:, None] + places, 0),
        "packed_present": present,
        "packed_scatter": np.flatnonzero(present),
    }
    return _embeddings(session, inputs)


def _runs(order: Sequence[int], lengths: Sequence[int]) -> Iterator[list[int]]:
    together: list[int] = []
    tokens = 0
    for number in order:
        if together and tokens + lengths[number] > RUN_TOKENS:
            yield together
            together, tokens = [], 0
        together.append(number)
        tokens += lengths[number]
    if together:
        yield together


def _embeddings(session: Any, inputs: dict[str, Any]) -> list[Vector]:
    return list(session.run(["embedding"], inputs)[0])
