"""The right answers: fp32, one request at a time, in this process, on the very graph that is served."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.load.requests import RequestList
from benchmarks.load.verdict import Vector
from benchmarks.shapes.publish import NOOP
from benchmarks.shapes.task import ATTENTION_MASK, EMBEDDING, INPUT_IDS
from server.runtime.session import Session


def reference(shape: str, graph: Path, requests: RequestList, cache: Path) -> Sequence[Vector]:
    """The answer to each request, computed once and kept below `cache`; of `noop` the ids themselves."""
    if shape == NOOP:
        return [ids.astype(np.float32) for ids in requests.rows]
    path = cache / f"reference-{_digest(graph, requests)}.npy"
    if not path.exists():
        answers = _compute(graph, requests)
        draft = path.with_name(f"draft-{path.name}")
        np.save(draft, answers)
        draft.rename(path)
    return list(np.load(path))


def _digest(graph: Path, requests: RequestList) -> str:
    """Of the requests, the graph and the weights that lie beside it."""
    digest = hashlib.sha256(requests.digest().encode())
    for path in (graph, *sorted(graph.parent.glob("*.bin"))):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def _compute(graph: Path, requests: RequestList) -> Vector:
    session = Session.open(graph)
    try:
        rows = [
            session.run({INPUT_IDS: ids[None], ATTENTION_MASK: np.ones((1, len(ids)), dtype=np.bool_)}, [EMBEDDING])
            for ids in requests.rows
        ]
    finally:
        session.close()
    answers: Vector = np.concatenate([row[EMBEDDING] for row in rows])
    return answers
