"""Plans without any server: the most that a server could reach with the same sessions on the same cores.

    python -m benchmarks.peers.in_process PLAN

Threads take runs of requests from one list, over and over, until the time is up; there is always work. The graph, the
threads and the precision come in the variables that the peers get, the rest as `orders` says.
"""

import itertools
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.peers.encoder import GRAPH, PRECISION, WORKERS, Encoder, Ids, Vector, number, sessions
from benchmarks.peers.orders import Answered, orders, read_rows
from benchmarks.peers.packed import block_diagonal, gathered, in_order, in_sorted_windows
from server.runtime.providers import LEFT_UNFUSED

PADDED_ROWS = 16
MULTIPLES = {"bf16": 32}
"""What packed tokens are padded to a multiple of: OpenVINO keeps what it has prepared for a shape, and few are kept."""


@dataclass(frozen=True)
class Plan:
    """Which requests run together, and how."""

    layout: str
    """Of the graph that it runs, as manifests name it."""
    group: Callable[[Sequence[int]], list[list[int]]]
    """From the lengths of all requests to the numbers of each run's."""
    compute: Callable[[Any, list[Ids], str], Sequence[Vector]]
    """One run, from session, rows and precision."""


def _alone(lengths: Sequence[int]) -> list[list[int]]:
    return [[request] for request in range(len(lengths))]


def _padded(lengths: Sequence[int]) -> list[list[int]]:
    return [list(range(len(lengths)))[start : start + PADDED_ROWS] for start in range(0, len(lengths), PADDED_ROWS)]


PLANS: Mapping[str, Plan] = {
    "batch-1": Plan("rows", _alone, lambda session, rows, _: [Encoder(session).one(rows[0])]),
    "padded-16": Plan("rows", _padded, lambda session, rows, _: Encoder(session).many(rows)),
    "block-diagonal-256": Plan(
        "block-diagonal",
        in_order,
        lambda session, rows, precision: block_diagonal(session, rows, MULTIPLES.get(precision, 1)),
    ),
    "gathered-256": Plan("gathered", in_sorted_windows, lambda session, rows, _: gathered(session, rows)),
}
"""By name: each request alone; 16 in the order of arrival, padded; packed runs of 256 tokens in the order of arrival,
and in windows of 128 sorted by length."""


def drive(
    plan: Plan,
    opened: Sequence[Any],
    precision: str,
    rows: list[Ids],
    groups: list[list[int]],
    *,
    turns: float = math.inf,
    seconds: float = math.inf,
) -> Answered:
    """Runs group after group, over and over, in a thread for each session: so many of them, or for so long.

    What a thread raises is raised here once all are done.
    """
    numbers = itertools.count()
    found: Answered = []
    failures: list[Exception] = []
    start = time.monotonic()

    def work(session: Any) -> None:
        try:
            while not failures and (turn := next(numbers)) < turns and time.monotonic() - start < seconds:
                group = groups[turn % len(groups)]
                vectors = plan.compute(session, [rows[request] for request in group], precision)
                done = time.monotonic() - start
                found.extend((request, done, vector) for request, vector in zip(group, vectors, strict=True))
        except Exception as error:  # told by the thread that waits
            failures.append(error)

    workers = [threading.Thread(target=work, args=(session,)) for session in opened]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if failures:
        raise failures[0]
    return found


def main() -> None:
    """Runs one plan as often as it is told to."""
    plan, precision = PLANS[sys.argv[1]], os.environ[PRECISION]
    opened = sessions(os.environ[GRAPH], precision, number(WORKERS), LEFT_UNFUSED)
    source = ""
    rows: list[Ids] = []
    groups: list[list[int]] = []
    for order in orders():
        if order.rows != source:
            source, rows = order.rows, read_rows(order.rows)
            groups = plan.group([len(row) for row in rows])
            if precision == "bf16":
                # OpenVINO prepares itself for a shape when it first comes: all of them, as often as there are threads.
                drive(plan, opened, precision, rows, groups, turns=len(groups) * len(opened))
        order.answer(drive(plan, opened, precision, rows, groups, seconds=order.end_s))


if __name__ == "__main__":
    main()
