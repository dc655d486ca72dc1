"""A generation as its caller holds it."""

import numpy as np
import pytest

from server.codecs.codec import EncodedRow
from server.generation.decoding import Decoding
from tests.support.writing import STEP_S


def begin(desk, **more):
    return desk.writer.begin(EncodedRow({"ids": np.array([[5, 6]])}), Decoding(max_tokens=6), request_id="r", **more)


def run(desk, coroutine):
    """What a coroutine returned on the machine."""
    task = desk.machine.loop.create_task(coroutine)
    desk.machine.run()
    return task.result()


def test_one_that_is_not_streamed_has_no_increments(open_desk):
    desk = open_desk()

    async def iterate():
        generation = begin(desk)
        with pytest.raises(ValueError, match="not streamed"):
            async for _ in generation:
                pass
        return await generation.result()

    assert run(desk, iterate()).sequences


def test_the_result_may_be_asked_for_again_and_beside_the_increments(open_desk):
    desk = open_desk()

    async def ask():
        generation = begin(desk, streamed=True)
        first = await generation.result()
        found = [token async for increment in generation for token in increment.ids]
        assert await generation.result() is first
        return first, found

    first, found = run(desk, ask())
    assert tuple(found) == first.sequences[0].ids


def test_the_timer_of_a_deadline_goes_with_the_answer(open_desk):
    desk = open_desk()

    async def ask():
        await begin(desk, deadline=1000.0).result()

    run(desk, ask())
    assert desk.machine.clock.now() < 100 * STEP_S
