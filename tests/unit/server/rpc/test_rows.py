import asyncio

import numpy as np
import pytest

from server.errors import EmptyInput, SequenceTooLong
from server.manifest import FixedAxis, FreeAxis, GraphSpec, InputSpec, LengthAxis, Manifest, OutputSpec, RowAxis
from server.rpc.rows import for_each, lengths_of, naming_input, rows_of
from server.tensors import Datatype

MANIFEST = Manifest(
    name="pair",
    task="tensors",
    graphs=(GraphSpec(file="model.onnx", opset=20),),
    inputs=(
        InputSpec(name="a", datatype=Datatype.INT64, axes=(RowAxis(), LengthAxis(name="source"))),
        InputSpec(name="b", datatype=Datatype.FP32, axes=(RowAxis(), LengthAxis(name="target"), FixedAxis(size=3))),
    ),
    outputs=(OutputSpec(name="y", datatype=Datatype.FP32, axes=(RowAxis(),)),),
)


async def test_results_keep_the_order_of_the_items():
    gates = [asyncio.Event() for _ in range(3)]

    async def work(index: int, item: str) -> str:
        if index < 2:
            await gates[index + 1].wait()
        gates[index].set()
        return f"{index}{item}"

    assert await for_each("abc", work) == ["0a", "1b", "2c"]


async def test_the_first_failure_cancels_the_rest_and_is_raised_itself():
    cancelled = []

    async def work(index: int, _: int) -> None:
        if index == 1:
            raise EmptyInput("nothing")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(index)
            raise

    with pytest.raises(EmptyInput, match="nothing"):
        await for_each(range(3), work)
    assert sorted(cancelled) == [0, 2]


async def test_the_failure_of_a_single_item_is_raised_itself():
    async def fail(index, item):
        raise EmptyInput(f"{index} {item}")

    with pytest.raises(EmptyInput, match="0 a"):
        await for_each(["a"], fail)


async def test_cancelling_the_whole_cancels_every_part():
    cancelled = []

    async def work(index: int, _: int) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(index)
            raise

    whole = asyncio.ensure_future(for_each(range(2), work))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    whole.cancel()
    with pytest.raises(asyncio.CancelledError):
        await whole
    assert sorted(cancelled) == [0, 1]


def test_an_error_names_its_input_and_keeps_its_kind():
    error = naming_input(SequenceTooLong("too long", {"tokens": "9"}), 4)
    assert isinstance(error, SequenceTooLong)
    assert error.message == "input 4: too long"
    assert error.metadata == {"tokens": "9", "input": "4"}


def test_rows_and_lengths_are_told_by_the_signature():
    inputs = {"a": np.zeros((2, 5)), "b": np.zeros((2, 7, 3))}
    assert lengths_of(MANIFEST, inputs) == {"source": 5, "target": 7}
    assert rows_of(MANIFEST, inputs) == 2


def test_named_free_axes_are_told_like_lengths_and_unnamed_ones_are_not():
    axes = (RowAxis(), FreeAxis(name="width"), FreeAxis())
    manifest = MANIFEST.model_copy(update={"inputs": (InputSpec(name="a", datatype=Datatype.FP32, axes=axes),)})
    assert lengths_of(manifest, {"a": np.zeros((1, 3, 4))}) == {"width": 3}


def test_inputs_that_do_not_fit_the_signature_tell_nothing():
    assert lengths_of(MANIFEST, {"a": np.zeros(5), "z": np.zeros((2, 2))}) == {}
    assert rows_of(MANIFEST, {"a": np.zeros(5)}) == 1
