"""Plans without any server: the most that a server could reach with the same sessions on the same cores.

    python -m benchmarks.peers.in_process PLAN GRAPH ROWS WARM_UP_S MEASURED_S ANSWERS IN_FLIGHT

Threads take work from one list in the order of arrival until the time is up. ROWS is an `.npz` of ids by number; the
answers of the measured time go to ANSWERS. There is always work: IN_FLIGHT is what `without_grpc` asks for.
"""

import itertools
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from benchmarks.peers.encoder import GRAPH, PRECISION, Encoder, Ids, Vector

PADDED_ROWS = 16

Answered = list[tuple[int, float, Vector]]
"""Request, when it was done in seconds after the start, answer."""


def alone(encoder: Encoder, rows: list[Ids]) -> list[Vector]:
    """Each row in a run of its own."""
    return [encoder.one(row) for row in rows]


PLANS: Mapping[str, tuple[int, Callable[[Encoder, list[Ids]], list[Vector]]]] = {
    "batch-1": (1, alone),
    "padded-16": (PADDED_ROWS, Encoder.many),
}
"""By name: rows that are taken at a time, and how they run."""


def run(plan: str, rows: list[Ids], warm_up_s: float, measured_s: float, threads: int) -> Answered:
    """Runs a plan on as many sessions as there are threads; the answers that were done in the measured time."""
    taken, compute = PLANS[plan]
    encoders = [Encoder() for _ in range(threads)]
    turns = itertools.count()
    found: Answered = []
    start = time.monotonic()

    def work(encoder: Encoder) -> None:
        while time.monotonic() - start < warm_up_s + measured_s:
            first = next(turns) * taken
            numbers = [(first + offset) % len(rows) for offset in range(taken)]
            vectors = compute(encoder, [rows[number] for number in numbers])
            done = time.monotonic() - start
            found.extend((number, done, vector) for number, vector in zip(numbers, vectors, strict=True))

    workers = [threading.Thread(target=work, args=(encoder,)) for encoder in encoders]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return [entry for entry in found if warm_up_s <= entry[1] < warm_up_s + measured_s]


def read_rows(source: Path) -> list[Ids]:
    """The ids of each request, in order."""
    with np.load(source, allow_pickle=False) as archive:
        return [archive[str(number)] for number in range(len(archive.files))]


def write_answers(path: Path, found: Answered) -> None:
    """Writes what was answered, and says how much processor time this process took."""
    vectors = np.stack([vector for _, _, vector in found]) if found else np.zeros((0, 0), dtype=np.float32)
    np.savez(path, requests=np.array([number for number, _, _ in found], dtype=np.int64), vectors=vectors)
    print(json.dumps({"cpu_s": time.process_time()}))


def main() -> None:
    """Runs one plan once."""
    plan, graph, source, warm_up_s, measured_s, answers, _ = sys.argv[1:]
    os.environ[GRAPH] = graph
    os.environ.setdefault(PRECISION, "fp32")
    rows = read_rows(Path(source))
    found = run(plan, rows, float(warm_up_s), float(measured_s), len(os.sched_getaffinity(0)))
    write_answers(Path(answers), found)


if __name__ == "__main__":
    main()
