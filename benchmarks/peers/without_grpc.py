"""Our server without gRPC: the same registry, admission, scheduler and session, called in one process.

    python -m benchmarks.peers.without_grpc PLAN

As `in_process`, but for callers that each wait for their answer; the graph lies in a store, as
`<store>/<model>/<version>/<file>`.
"""

import asyncio
import itertools
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import uvloop

from benchmarks.peers.encoder import GRAPH
from benchmarks.peers.orders import Answered, Order, orders, read_rows
from server.bootstrap import Application
from server.servable import Servable
from server.settings import Settings
from server.tensors import Datatype, Tensor

SETTINGS: dict[str, dict[str, object]] = {"scheduler-on": {}, "scheduler-off": {"enabled": False}}
"""The group `batching` by the name of the plan."""
OUTPUT = "embedding"

Inputs = dict[str, Tensor]


async def run(servable: Servable, rows: Sequence[Inputs], order: Order) -> Answered:
    """So many callers, each asking again when it is answered, until the time is up."""
    turns = itertools.count()
    found: Answered = []
    start = time.monotonic()

    async def call() -> None:
        while time.monotonic() - start < order.end_s:
            turn = next(turns)
            number = turn % len(rows)
            answer = await servable.infer(rows[number], (OUTPUT,), request_id=str(turn))
            found.append((number, time.monotonic() - start, answer.outputs[OUTPUT][0]))

    await asyncio.gather(*(call() for _ in range(order.in_flight)))
    return found


def settings_of(plan: str, store: Path) -> Settings:
    """What the server does when nobody tells it anything, but for the store, the ports and the plan."""
    return Settings.model_validate(
        {
            "store": {"path": store, "control": "none"},
            "grpc": {"port": 0},
            "telemetry": {"metrics_port": 0},
            "batching": SETTINGS[plan],
        }
    )


def inputs_of(source: str) -> list[Inputs]:
    """The inputs of each request."""
    return [
        {
            "input_ids": Tensor(Datatype.INT64, ids[None]),
            "attention_mask": Tensor(Datatype.BOOL, np.ones((1, len(ids)), dtype=np.bool_)),
        }
        for ids in read_rows(source)
    ]


async def serve(plan: str, graph: Path) -> None:
    """Runs one plan as often as it is told to."""
    application = Application(settings_of(plan, graph.parents[2]))
    try:
        await application.start()
        servable = application.registry.resolve(graph.parents[1].name)
        told = orders()
        while order := await asyncio.to_thread(next, told, None):
            order.answer(await run(servable, inputs_of(order.rows), order))
    finally:
        await application.close()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1], Path(os.environ[GRAPH])))
