"""CTranslate2 without any server, in its own environment: batches from which a row leaves when it has its length.

    python -m benchmarks.peers.ctranslate2.serve PLAN

There is always a batch for each worker. The folder of the model and the precision come in the variables that the peers
get, the rest as `orders` says.
"""

import itertools
import os
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ctranslate2
import numpy as np

from benchmarks.peers.orders import Ids, Order, Written, orders, read_rows, read_wanted

COMPUTE_TYPES = {"fp32": "float32", "int8": "int8"}


@dataclass(frozen=True)
class Plan:
    """How the cores are shared out."""

    workers: int
    threads: int
    """Of each worker."""
    rows: int
    """Of each batch."""


PLANS: Mapping[str, Plan] = {
    "1x32": Plan(workers=1, threads=2, rows=32),
    "2x16": Plan(workers=2, threads=1, rows=16),
    "alone": Plan(workers=1, threads=2, rows=1),
}
"""By name: one worker with 32 rows and both cores; two with 16 rows and a core each; one row with both cores."""


def batches(rows: Sequence[Ids], size: int) -> list[list[int]]:
    """The numbers of the requests in each batch: sorted by length over the whole list, so that little is padding."""
    by_length = sorted(range(len(rows)), key=lambda number: len(rows[number]))
    return [by_length[start : start + size] for start in range(0, len(by_length), size)]


def translate(translator: Any, sources: list[list[str]], wanted: list[int]) -> tuple[list[float], list[Ids]]:
    """One batch: when each row left it, on the monotonic clock, and what it has written."""
    left_s = [0.0] * len(sources)
    counts = [0] * len(sources)

    def take(step: Any) -> bool:
        """Called for each new token; True ends its row."""
        row = step.batch_id
        counts[row] += 1
        if counts[row] < wanted[row]:
            return False
        left_s[row] = time.monotonic()
        return True

    longest = max(wanted)
    results = translator.translate_batch(
        sources, beam_size=1, max_decoding_length=longest, min_decoding_length=longest, callback=take
    )
    return left_s, [np.array([int(token) for token in result.hypotheses[0]], dtype=np.int64) for result in results]


def drive(plan: Plan, translator: Any, order: Order) -> list[Written]:
    """One run. What a worker raises is raised here once all are done."""
    rows, wanted = read_rows(order.rows), read_wanted(order.rows)
    sources = [[str(token) for token in row.tolist()] for row in rows]
    groups, turns = batches(rows, plan.rows), itertools.count()
    found: list[Written] = []
    failures: list[Exception] = []
    start = time.monotonic()

    def work() -> None:
        try:
            while not failures and (began := time.monotonic() - start) < order.end_s:
                group = groups[next(turns) % len(groups)]
                left_s, ids = translate(translator, [sources[n] for n in group], [wanted[n] for n in group])
                found.extend(
                    Written(number, began, done - start, text)
                    for number, done, text in zip(group, left_s, ids, strict=True)
                )
        except Exception as error:  # told by the thread that waits
            failures.append(error)

    workers = [threading.Thread(target=work) for _ in range(plan.workers)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if failures:
        raise failures[0]
    return found


def main() -> None:
    """Runs one plan as often as it is told to."""
    plan = PLANS[sys.argv[1]]
    translator = ctranslate2.Translator(
        os.environ["BENCH_GRAPH"],
        compute_type=COMPUTE_TYPES[os.environ["BENCH_PRECISION"]],
        inter_threads=plan.workers,
        intra_threads=plan.threads,
    )
    for order in orders():
        order.answer_texts(drive(plan, translator, order))


if __name__ == "__main__":
    main()
