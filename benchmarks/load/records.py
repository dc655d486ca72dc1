"""What the compiled client writes down: how each call ended, and its answer as it came."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

MAGIC = b"ATTRECS2"
_HEAD = struct.Struct("<Q3d")
_CALL = np.dtype(
    [
        ("request", "<u4"),
        ("outcome", "<u4"),
        ("status", "<u4"),
        ("size", "<u4"),
        ("messages", "<u8"),
        ("intended_s", "<f8"),
        ("sent_s", "<f8"),
        ("done_s", "<f8"),
    ]
)


class Outcome(IntEnum):
    """How a call ended, by the numbers of `client/connection.hpp`."""

    ANSWERED = 0
    REFUSED = 1
    TIMED_OUT = 2
    DISCONNECTED = 3
    MALFORMED = 4


class RecordsUnreadable(Exception):
    """The file is not what the client writes."""


@dataclass(frozen=True, eq=False)
class Records:
    """All calls of a run, in the order in which they were made; times in seconds after its start."""

    calls: NDArray[np.void]
    """Fields request, outcome, status, size, messages, intended_s, sent_s, done_s."""
    bodies: bytes
    started_s: float
    """On the monotonic clock."""
    ended_s: float
    cpu_s: float
    """Processor time of the client itself."""
    arrived_s: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    """When each message of a stream was there, call after call, as many for each as its `messages`; others have 0."""

    def answers(self) -> Iterator[bytes]:
        """The body of each call, in order; empty where there was none."""
        at = 0
        view = memoryview(self.bodies)
        for size in self.calls["size"].tolist():
            yield bytes(view[at : at + size])
            at += size

    def arrivals(self) -> Iterator[NDArray[np.float64]]:
        """When the messages of each call were there, in order; empty for a call that is no stream."""
        at = 0
        for count in self.calls["messages"].tolist():
            yield self.arrived_s[at : at + count]
            at += count


def read_records(path: Path) -> Records:
    """Reads what the client wrote.

    Raises RecordsUnreadable if the file is no such thing, or cut short.
    """
    content = path.read_bytes()
    start = len(MAGIC) + _HEAD.size
    if not content.startswith(MAGIC) or len(content) < start:
        raise RecordsUnreadable(f"{path.name} is not a file of records")
    count, started_s, ended_s, cpu_s = _HEAD.unpack_from(content, len(MAGIC))
    end = start + count * _CALL.itemsize
    if len(content) < end:
        raise RecordsUnreadable(f"{path.name} is cut short: {len(content)} bytes for {count} calls")
    calls = np.frombuffer(content[start:end], dtype=_CALL)
    times = end + int(calls["messages"].sum()) * 8
    bodies = content[times:]
    if len(content) < times or len(bodies) != int(calls["size"].sum()):
        raise RecordsUnreadable(f"{path.name} is cut short: {len(bodies)} bytes of answers, {calls['size'].sum()} told")
    arrived_s = np.frombuffer(content[end:times], dtype="<f8")
    return Records(calls, bodies, started_s, ended_s, cpu_s, arrived_s)
