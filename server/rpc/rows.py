"""Rows made by a codec: each is inferred as a request of its own, all at once, and batching brings them together."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from server.batching.request import Answer
from server.codecs.codec import EncodedRow
from server.errors import ServeError
from server.manifest import Axis, Manifest
from server.rpc.call import Call
from server.servable import Servable
from server.tensors import Array, Tensor, cast

Item = TypeVar("Item")
Result = TypeVar("Result")


async def for_each(items: Iterable[Item], work: Callable[[int, Item], Awaitable[Result]]) -> list[Result]:
    """Runs `work(index, item)` for all items at once, results in their order.

    The first failure cancels the rest, so that nothing is computed for a call that has failed, and is raised itself.
    """

    async def one(index: int, item: Item) -> Result:
        return await work(index, item)

    listed = list(items)
    if len(listed) == 1:  # which needs no task of its own
        return [await work(0, listed[0])]
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(index, item)) for index, item in enumerate(listed)]
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]


def naming_input(error: ServeError, index: int) -> ServeError:
    """The same error, its message and metadata naming the input that it is about, counted from 0."""
    return type(error)(f"input {index}: {error.message}", {**error.metadata, "input": str(index)})


async def infer_row(
    servable: Servable,
    row: EncodedRow,
    outputs: Sequence[str],
    call: Call,
    priority: int = 0,
    precision: str | None = None,
) -> Answer:
    """Infers one encoded row. Raises what `Servable.infer` raises."""
    return await servable.infer(
        _tensors(servable, row),
        outputs,
        request_id=call.request_id,
        deadline=call.deadline,
        priority=priority,
        precision=precision,
    )


def lengths_of(manifest: Manifest, inputs: Mapping[str, Array]) -> dict[str, int]:
    """The sizes of the named length and free axes, as far as the inputs have the ranks of the signature.

    Whether they fit it otherwise is admission's to say.
    """
    named = ((axis.name, size) for axis, size in _sizes(manifest, inputs) if axis.kind in ("length", "free"))
    return {name: size for name, size in named if name is not None}


def rows_of(manifest: Manifest, inputs: Mapping[str, Array]) -> int:
    """The rows of a request, told as `lengths_of` tells lengths; 1 where nothing counts rows."""
    return max((size for axis, size in _sizes(manifest, inputs) if axis.kind == "row"), default=1)


def _sizes(manifest: Manifest, inputs: Mapping[str, Array]) -> Iterator[tuple[Axis, int]]:
    for spec in manifest.inputs:
        array = inputs.get(spec.name)
        if array is not None and array.ndim == len(spec.axes):
            yield from zip(spec.axes, array.shape, strict=True)


def _tensors(servable: Servable, row: EncodedRow) -> dict[str, Tensor]:
    """A codec's arrays in the datatypes of the model's inputs."""
    found: dict[str, Tensor] = {}
    for name, array in row.inputs.items():
        spec = servable.manifest.input(name)
        if spec is not None:
            found[name] = Tensor(spec.datatype, cast(array, spec.datatype))
    return found
