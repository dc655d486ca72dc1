"""Records as the client would write them, made from a few calls."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from benchmarks.load.records import _CALL, Outcome, Records


def records(*calls: tuple[int, Outcome, float, float, float, bytes], status: int = 0) -> Records:
    """Each call is (request, outcome, intended, sent, done, body)."""
    found = np.array(
        [(request, outcome, status, len(body), 0, a, b, c) for request, outcome, a, b, c, body in calls], dtype=_CALL
    )
    bodies = b"".join(body for *_, body in calls)
    return Records(found, bodies, started_s=0.0, ended_s=1.0, cpu_s=0.25)


def fp32(values: Sequence[float]) -> bytes:
    return np.array(values, dtype="<f4").tobytes()


def read_fp32(body: bytes):
    return np.frombuffer(body, dtype="<f4")


def streams(*calls: tuple[tuple[int, Outcome, float, float, float, bytes], Sequence[float]]) -> Records:
    """Each call as for `records`, and when its messages were there."""
    made = records(*(call for call, _ in calls))
    found = made.calls.copy()
    found["messages"] = [len(arrived) for _, arrived in calls]
    return replace(made, calls=found, arrived_s=np.concatenate([np.array(arrived) for _, arrived in calls]))
