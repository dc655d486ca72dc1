"""Requests for batching tests, made by shape alone."""

import asyncio
from collections.abc import Sequence

import numpy as np

from server.batching.request import Request
from server.manifest import FixedAxis, InputSpec, LengthAxis, OutputSpec, RowAxis
from server.tensors import Array, Datatype

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
    precision: str = "fp32",
    enqueued_at: float = 0.0,
    deadline: float | None = None,
    first: int = 1,
    mask: Array | None = None,
    alone_s: float = 0.0,
    loop: asyncio.AbstractEventLoop | None = None,
) -> Request:
    """A request of `rows` rows of `length` ids counting up from `first`; without a mask, nothing is hidden."""
    ids = np.arange(first, first + rows * length, dtype=np.int64).reshape(rows, length)
    request = Request(
        request_id=f"r{first}",
        inputs={"ids": ids, "mask": np.ones((rows, length), dtype=np.bool_) if mask is None else mask},
        outputs=tuple(outputs),
        rows=rows,
        lengths={"length": length},
        masked=mask is not None,
        group=(precision, frozenset(outputs)),
        enqueued_at=enqueued_at,
        deadline=deadline,
        reply=(loop or asyncio.get_running_loop()).create_future(),
        priority=priority,
        precision=precision,
    )
    request.alone_s = alone_s
    return request
