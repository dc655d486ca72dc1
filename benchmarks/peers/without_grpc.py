"""Our server without gRPC: the same registry, admission, scheduler and session, called in one process.

    python -m benchmarks.peers.without_grpc PLAN GRAPH ROWS WARM_UP_S MEASURED_S ANSWERS IN_FLIGHT

As `in_process`; GRAPH lies in a store, `<store>/<model>/<version>/model.onnx`.
"""

import asyncio
import itertools
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import uvloop

from benchmarks.peers.in_process import Answered, read_rows, write_answers
from server.bootstrap import Application
from server.settings import Settings
from server.tensors import Datatype, Tensor

SETTINGS: dict[str, dict[str, object]] = {"scheduler-on": {}, "scheduler-off": {"enabled": False}}
"""The group `batching` by the name of the plan."""
OUTPUT = "embedding"

Inputs = dict[str, Tensor]


async def run(
    plan: str, graph: Path, rows: Sequence[Inputs], warm_up_s: float, measured_s: float, in_flight: int
) -> Answered:
    """So many callers, each asking again when it is answered; the answers that came in the measured time."""
    model, store = graph.parents[1].name, graph.parents[2]
    settings = Settings.model_validate(
        {
            "store": {"path": store, "control": "none"},
            "grpc": {"port": 0},
            "telemetry": {"metrics_port": 0},
            "batching": SETTINGS[plan],
        }
    )
    application = Application(settings)
    turns = itertools.count()
    found: Answered = []
    try:
        await application.start()
        servable = application.registry.resolve(model)
        start = time.monotonic()

        async def call() -> None:
            while time.monotonic() - start < warm_up_s + measured_s:
                turn = next(turns)
                number = turn % len(rows)
                answer = await servable.infer(rows[number], (OUTPUT,), request_id=str(turn))
                found.append((number, time.monotonic() - start, answer.outputs[OUTPUT][0]))

        await asyncio.gather(*(call() for _ in range(in_flight)))
    finally:
        await application.close()
    return [entry for entry in found if warm_up_s <= entry[1] < warm_up_s + measured_s]


def main() -> None:
    """Runs one plan once."""
    plan, graph, source, warm_up_s, measured_s, answers, in_flight = sys.argv[1:]
    rows = [
        {
            "input_ids": Tensor(Datatype.INT64, ids[None]),
            "attention_mask": Tensor(Datatype.BOOL, np.ones((1, len(ids)), dtype=np.bool_)),
        }
        for ids in read_rows(Path(source))
    ]
    found = uvloop.run(run(plan, Path(graph), rows, float(warm_up_s), float(measured_s), int(in_flight)))
    write_answers(Path(answers), found)


if __name__ == "__main__":
    main()
