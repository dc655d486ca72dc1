"""What is right to write: the likeliest token at each step, one request at a time, on the very graphs that are served.

Two tokens that are nearly as likely may change places where other rows run beside, because sums are taken in another
order there, or because numbers that are rounded to int8 share a scale with their neighbours'. How far scores move is
measured here, in company against alone, and margins up to that count as ties.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.load.writing import Greedy, References, WritingList
from benchmarks.peers.step_graphs import BufferedRows, StepGraphs, step_layouts
from server.runtime.cores import available_cores

COMPANY = 32
COMPARED = 8
"""Requests whose scores are compared, in company and alone."""
STEPS = 12
"""Of each of them."""
SAFETY = 4.0
"""A margin is a difference of two scores, so that it moves by twice as much as they; and few were compared."""
LEAST_TOLERANCE = 1e-4


def references(folder: Path, precision: str, requests: WritingList, cache: Path) -> References:
    """The texts for each request of a bundle, written once and kept below `cache`."""
    path = cache / f"texts-{precision}-{_digest(folder, requests)}.npz"
    if not path.exists():
        graphs = StepGraphs(folder, precision, available_cores())
        rows, scores = alone(graphs, requests)
        moved = 0.0
        for layout in step_layouts(folder, precision):
            together = StepGraphs(folder, precision, available_cores(), layout=layout)
            moved = max(moved, float(np.abs(in_company(together, requests, rows) - scores).max()))
        draft = path.with_name(f"draft-{path.name}")
        np.savez(
            draft,
            ids=np.concatenate([row.ids for row in rows]),
            margins=np.concatenate([row.margins for row in rows]),
            tolerance=max(LEAST_TOLERANCE, SAFETY * moved),
        )
        draft.rename(path)
    with np.load(path, allow_pickle=False) as archive:
        ends = np.cumsum(requests.wanted)[:-1]
        columns = np.split(archive["ids"], ends), np.split(archive["margins"], ends)
        return References(tuple(Greedy(*row) for row in zip(*columns, strict=True)), float(archive["tolerance"]))


def alone(graphs: StepGraphs, requests: WritingList) -> tuple[list[Greedy], NDArray[np.float32]]:
    """Each request by itself; and the scores of the first steps of the first few, [requests, steps, vocabulary]."""
    rows = BufferedRows(graphs, 1, requests.longest, _capacity(graphs, requests))
    compared = min(COMPARED, len(requests.rows))
    scores = np.zeros((compared, STEPS, graphs.spec.vocab_size), dtype=np.float32)
    found = []
    for number, (source, wanted) in enumerate(zip(requests.rows, requests.wanted, strict=True)):
        rows.put(0, graphs.encode([source]), 0)
        for token in graphs.spec.start[:-1]:
            rows.tokens[0] = token
            rows.step()
        rows.tokens[0] = graphs.spec.start[-1]
        ids, margins = np.zeros(wanted, dtype=np.int64), np.zeros(wanted, dtype=np.float32)
        for step in range(wanted):
            rows.step()
            ids[step] = rows.likeliest()[0]
            if number < compared and step < STEPS:
                scores[number, step] = rows.logits[0]
            second, first = np.partition(rows.logits[0], -2)[-2:]
            margins[step] = first - second
            rows.tokens[0] = ids[step]
        found.append(Greedy(ids, margins))
    return found, _known(scores)


def in_company(graphs: StepGraphs, requests: WritingList, right: Sequence[Greedy]) -> NDArray[np.float32]:
    """The scores of the same steps of the same requests, with others beside them, every row fed what is right."""
    company = [number % len(requests.rows) for number in range(COMPANY)]
    rows = BufferedRows(graphs, COMPANY, requests.longest, _capacity(graphs, requests) + STEPS)
    started = graphs.encode([requests.rows[number] for number in company])
    for row in range(COMPANY):
        rows.put(row, started, row)
    for token in graphs.spec.start[:-1]:
        rows.tokens[:] = token
        rows.step()
    rows.tokens[:] = graphs.spec.start[-1]
    compared = min(COMPARED, len(requests.rows))
    scores = np.zeros((compared, STEPS, graphs.spec.vocab_size), dtype=np.float32)
    for step in range(STEPS):
        rows.step()
        rows.likeliest()
        for row, number in enumerate(company):
            ids = right[number].ids
            if row < compared and step < len(ids):
                scores[row, step] = rows.logits[row]
            rows.tokens[row] = ids[min(step, len(ids) - 1)]
    return _known(scores)


def _known(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Without the tokens that are never written."""
    return np.where(np.isfinite(scores), scores, np.float32(0.0))


def _capacity(graphs: StepGraphs, requests: WritingList) -> int:
    return len(graphs.spec.start) + max(requests.wanted)


def _digest(folder: Path, requests: WritingList) -> str:
    """Of the requests and of the bundle, by its manifest, which names the digests of all files."""
    digest = hashlib.sha256(requests.digest().encode())
    digest.update((folder / "manifest.json").read_bytes())
    return digest.hexdigest()[:16]
