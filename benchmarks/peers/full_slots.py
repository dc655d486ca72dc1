"""Every slot busy, without any server: the most that joining and leaving at each step could reach on the same graphs.

    python -m benchmarks.peers.full_slots PLAN

A lane has slots and a thread of its own. What has its length leaves, and the next request of the list joins before the
next step. Sources are encoded ahead, many in one run. The bundle's folder and the precision come in the variables that
the peers get, the rest as `orders` says.
"""

import itertools
import math
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.load.requests import Ids
from benchmarks.peers.encoder import GRAPH, PRECISION
from benchmarks.peers.orders import Order, Written, orders, read_rows, read_wanted
from benchmarks.peers.step_graphs import BufferedRows, Started, StepGraphs, step_layouts

ENCODED_TOGETHER = 16
TRIED = 8
"""Steps by which graphs are compared."""


@dataclass(frozen=True)
class Plan:
    """How the cores are shared out."""

    lanes: int
    slots: int
    """Of each lane."""
    threads: int
    """Of each run."""


PLANS: Mapping[str, Plan] = {"1x32": Plan(1, 32, 2), "2x16": Plan(2, 16, 1)}
"""By name: 32 slots in one lane with both cores, or 16 in each of two lanes with one core each."""


class Lane:
    """Slots that are never empty."""

    def __init__(
        self, graphs: StepGraphs, slots: int, rows: Sequence[Ids], wanted: Sequence[int], turns: Iterator[int]
    ) -> None:
        """`turns` is shared by all lanes: it says which request is next."""
        self._graphs, self._sources, self._wanted, self._turns = graphs, rows, wanted, turns
        self._first = np.array(graphs.spec.start, dtype=np.int64)
        if len(self._first) != 1:
            raise ValueError(f"texts that begin with {len(self._first)} tokens are not measured here: one is expected")
        self._rows = BufferedRows(graphs, slots, max(map(len, rows)), capacity=1 + max(wanted))
        self._encoded: deque[tuple[int, Started, int]] = deque()
        self._request = np.zeros(slots, dtype=np.int64)
        self._began_s = np.zeros(slots)
        self._count = np.zeros(slots, dtype=np.int64)
        self._limit = np.zeros(slots, dtype=np.int64)
        self._ids = np.zeros((slots, max(wanted)), dtype=np.int64)
        self._all = np.arange(slots)

    def run(self, seconds: float) -> list[Written]:
        """Writes until what was under way after so long is complete; the other slots stay busy until then."""
        found: list[Written] = []
        start = time.monotonic()
        for slot in self._all.tolist():
            self._join(slot, 0.0)
        while (self._began_s < seconds).any():
            self._rows.step()
            chosen = self._rows.likeliest()
            self._ids[self._all, self._count] = chosen
            self._rows.tokens[:, 0] = chosen
            self._count += 1
            now = time.monotonic() - start
            for slot in np.flatnonzero(self._count == self._limit).tolist():
                ids = self._ids[slot, : self._count[slot]].copy()
                found.append(Written(int(self._request[slot]), float(self._began_s[slot]), now, ids))
                self._join(slot, now)
        return found

    def _join(self, slot: int, now: float) -> None:
        request, started, index = self._next()
        self._rows.put(slot, started, index)
        self._rows.tokens[slot] = self._first
        self._request[slot], self._began_s[slot] = request, now
        self._count[slot], self._limit[slot] = 0, self._wanted[request]

    def _next(self) -> tuple[int, Started, int]:
        if not self._encoded:
            requests = [turn % len(self._sources) for turn in itertools.islice(self._turns, ENCODED_TOGETHER)]
            started = self._graphs.encode([self._sources[request] for request in requests])
            self._encoded.extend((request, started, index) for index, request in enumerate(requests))
        return self._encoded.popleft()


def drive(plan: Plan, graphs: StepGraphs, order: Order) -> list[Written]:
    """One run of all lanes, each in a thread of its own. What a lane raises is raised here once all are done."""
    rows, wanted = read_rows(order.rows), read_wanted(order.rows)
    turns = _shared_count()
    lanes = [Lane(graphs, plan.slots, rows, wanted, turns) for _ in range(plan.lanes)]
    found: list[Written] = []
    failures: list[Exception] = []

    def work(lane: Lane) -> None:
        try:
            found.extend(lane.run(order.end_s))
        except Exception as error:  # told by the thread that waits
            failures.append(error)

    threads = [threading.Thread(target=work, args=(lane,)) for lane in lanes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return found


def quickest(folder: Path, precision: str, plan: Plan) -> StepGraphs:
    """The bundle's graphs, with the step graph that takes the least time for as many rows as a lane has."""
    least, found = math.inf, None
    for layout in step_layouts(folder, precision):
        graphs = StepGraphs(folder, precision, plan.threads, layout=layout)
        rows = BufferedRows(graphs, plan.slots, longest_source=1, capacity=TRIED)
        taken = []
        for _ in range(TRIED):
            begin = time.perf_counter()
            rows.step()
            taken.append(time.perf_counter() - begin)
        if min(taken) < least:
            least, found = min(taken), graphs
    if found is None:
        raise ValueError(f"the bundle in {folder} has no step graph in {precision}")
    return found


def _shared_count() -> Iterator[int]:
    return itertools.count()  # A single `next` of it is safe from several threads.


def main() -> None:
    """Runs one plan as often as it is told to."""
    plan = PLANS[sys.argv[1]]
    graphs = quickest(Path(os.environ[GRAPH]), os.environ[PRECISION], plan)
    for order in orders():
        order.answer_texts(drive(plan, graphs, order))


if __name__ == "__main__":
    main()
