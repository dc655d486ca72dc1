"""The plan that the compiled client reads: little-endian, as `client/plan.cpp` says."""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import cycle, islice
from pathlib import Path

import numpy as np

from benchmarks.load.schedule import Closed, Phase, Schedule, poisson_arrivals

MAGIC = b"ATTLOAD1"
CONNECTIONS_OF_OPEN_LOOP = 512
"""HTTP/1.1 holds one call a connection; in an open loop no more than these are opened."""

_SEND = np.dtype([("request", "<u4"), ("at_s", "<f8")])


class Transport(IntEnum):
    """What the client speaks."""

    HTTP1 = 1
    GRPC = 2
    GRPC_STREAM = 3
    """Answered with any number of messages, which are kept with the five bytes before each."""


@dataclass(frozen=True)
class Prepared:
    """Requests in the bytes of a protocol: whole HTTP/1.1 requests, or framed gRPC messages."""

    transport: Transport
    port: int
    requests: Sequence[bytes]
    path: str = ""
    """The gRPC method."""
    headers: Mapping[str, str] | None = None
    """Further gRPC metadata."""
    channels: int = 1
    """gRPC connections."""


def write_plan(path: Path, prepared: Prepared, schedule: Schedule, phase: Phase, seed: int) -> None:
    """Writes the plan of one run; `seed` is that of the arrivals in an open loop."""
    closed = isinstance(schedule, Closed)
    sends = _closed_sends(prepared) if closed else _open_sends(prepared, schedule, phase, seed)
    connections = prepared.channels
    if prepared.transport is Transport.HTTP1:
        connections = schedule.in_flight if isinstance(schedule, Closed) else CONNECTIONS_OF_OPEN_LOOP
    with path.open("wb") as file:
        file.write(MAGIC)
        in_flight = schedule.in_flight if isinstance(schedule, Closed) else 0
        file.write(struct.pack("<4I", prepared.transport, prepared.port, connections, in_flight))
        file.write(struct.pack("<2d", phase.last_s, phase.timeout_s))
        file.write(_text(prepared.path.encode()))
        headers = prepared.headers or {}
        file.write(struct.pack("<I", len(headers)))
        for name, value in headers.items():
            file.write(_text(name.encode()) + _text(value.encode()))
        file.write(struct.pack("<I", len(prepared.requests)))
        for request in prepared.requests:
            file.write(_text(request))
        file.write(struct.pack("<I", len(sends)))
        file.write(sends.tobytes())


def _text(content: bytes) -> bytes:
    return struct.pack("<I", len(content)) + content


def _closed_sends(prepared: Prepared) -> "np.ndarray[tuple[int], np.dtype[np.void]]":
    sends = np.zeros(len(prepared.requests), dtype=_SEND)
    sends["request"] = np.arange(len(prepared.requests))
    return sends


def _open_sends(
    prepared: Prepared, schedule: Schedule, phase: Phase, seed: int
) -> "np.ndarray[tuple[int], np.dtype[np.void]]":
    assert not isinstance(schedule, Closed)
    times = poisson_arrivals(schedule.rate, phase.last_s, seed)
    sends = np.zeros(len(times), dtype=_SEND)
    sends["request"] = list(islice(cycle(range(len(prepared.requests))), len(times)))
    sends["at_s"] = times
    return sends
