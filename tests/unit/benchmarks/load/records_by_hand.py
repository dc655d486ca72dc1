"""Records as the client would write them, made from a few calls."""

from collections.abc import Sequence

import numpy as np

from benchmarks.load.records import _CALL, Outcome, Records


def records(*calls: tuple[int, Outcome, float, float, float, bytes], status: int = 0) -> Records:
    """Each call is (request, outcome, intended, sent, done, body)."""
    found = np.array(
        [(request, outcome, status, len(body), a, b, c) for request, outcome, a, b, c, body in calls], dtype=_CALL
    )
    bodies = b"".join(body for *_, body in calls)
    return Records(found, bodies, started_s=0.0, ended_s=1.0, cpu_s=0.25)


def fp32(values: Sequence[float]) -> bytes:
    return np.array(values, dtype="<f4").tobytes()


def read_fp32(body: bytes):
    return np.frombuffer(body, dtype="<f4")
