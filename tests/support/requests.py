"""Requests for batching tests, made by shape alone."""

import asyncio
from collections.abc import Sequence

import numpy as np

from server.batching.request import Request
from server.manifest import FixedAxis, InputSpec, LengthAxis, OutputSpec, RowAxis
from server.tensors import Datatype

IDS = InputSpec(name="ids", datatype=Datatype.INT64, axes=(RowAxis(), LengthAxis()), pad=0)
MASK = InputSpec(
    name="mask", datatype=Datatype.BOOL, axes=(RowAxis(), LengthAxis()), pad=False, role="mask", optional=True
)
ECHO = OutputSpec(name="echo", datatype=Datatype.INT64, axes=(RowAxis(), LengthAxis()))
SUM = OutputSpec(name="sum", datatype=Datatype.INT64, axes=(RowAxis(), FixedAxis(size=1)))


def make_request(
    length: int,
    rows: int = 1,
    *,
    outputs: Sequence[str] = ("echo", "sum"),
    priority: int = 0,
    enqueued_at: float = 0.0,
    deadline: float | None = None,
    first: int = 1,
    loop: asyncio.AbstractEventLoop | None = None,
) -> Request:
    """A request of `rows` rows of `length` ids counting up from `first`."""
    ids = np.arange(first, first + rows * length, dtype=np.int64).reshape(rows, length)
    return Request(
        request_id=f"r{first}",
        inputs={"ids": ids, "mask": np.ones((rows, length), dtype=np.bool_)},
        outputs=tuple(outputs),
        rows=rows,
        lengths={"length": length},
        group=(frozenset(outputs),),
        enqueued_at=enqueued_at,
        deadline=deadline,
        reply=(loop or asyncio.get_running_loop()).create_future(),
        priority=priority,
    )
