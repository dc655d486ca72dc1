import asyncio

import numpy as np
import pytest

from server.batching.request import Rows
from server.errors import DeadlineExpired, RequestCancelled
from server.generation.decoding import Decoding
from server.generation.reader import Reader
from server.generation.request import GenerationRequest


def make(loop, *, feed=(2,), source=0, reader=None, maps=(), **decoding):
    encoded = None
    if source:
        encoded = Rows(inputs={"ids": np.ones((1, source))}, outputs=(), rows=1, lengths={"length": source})
    return GenerationRequest(
        request_id="r",
        encoded=encoded,
        feed=feed,
        prompt_tokens=source,
        context=feed,
        decoding=Decoding(**{"max_tokens": 4, **decoding}),
        maps=maps,
        enqueued_at=0.0,
        deadline=None,
        reply=loop.create_future(),
        reader=reader,
    )


@pytest.fixture
async def loop():
    return asyncio.get_running_loop()


async def test_it_takes_a_slot_a_beam_and_costs_what_is_read(loop):
    assert (make(loop).rows, make(loop, num_beams=3).rows) == (1, 3)
    assert make(loop, feed=(2, 3, 4)).tokens == 3
    assert make(loop, feed=(2, 3, 4), source=9).tokens == 9
    assert make(loop, source=9).lengths == {"length": 9}
    assert make(loop).lengths == {}


async def test_the_last_new_token_takes_no_position(loop):
    assert make(loop, feed=(2, 3, 4), max_tokens=5).positions == 7
    assert make(loop, max_tokens=1).positions == 1


async def test_the_first_error_is_the_answer(loop):
    reader = Reader(4)
    request = make(loop, reader=reader)
    assert request.fail(DeadlineExpired("late"))
    assert not request.fail(RequestCancelled("gone"))
    assert request.dead
    assert isinstance(request.reply.exception(), DeadlineExpired)
    with pytest.raises(DeadlineExpired):
        await reader.get()


async def test_a_reply_that_its_caller_has_cancelled_takes_no_error(loop):
    request = make(loop)
    request.reply.cancel()
    assert request.dead
    assert request.fail(RequestCancelled("gone"))


async def test_only_who_needs_nothing_between_steps_is_quiet(loop):
    assert make(loop).quiet
    assert make(loop, logprobs=True).quiet
    assert not make(loop, stop=("x",)).quiet
    assert not make(loop, maps=("look",)).quiet
    assert not make(loop, reader=Reader(4)).quiet


def weights(*rows):
    """One step's weights: [rows, 1 head, keys]."""
    return {"look": np.array(rows, np.float32)[:, None, :]}


async def test_weights_of_several_steps_stand_one_below_the_other(loop):
    request = make(loop, maps=("look",))
    request.weights = [weights([1.0]), weights([0.5, 0.5]), weights([0.2, 0.3, 0.5])]
    whole = request.traced()["look"]
    assert whole.shape == (1, 1, 3, 3)
    np.testing.assert_allclose(whole[0, 0], [[1, 0, 0], [0.5, 0.5, 0], [0.2, 0.3, 0.5]])
    np.testing.assert_allclose(request.traced(since=1, until=2)["look"][0, 0], [[0.5, 0.5]])


async def test_weights_of_a_hypothesis_are_those_of_the_beams_it_came_through(loop):
    request = make(loop, maps=("look",), num_beams=2)
    request.weights = [weights([1.0], [0.9]), weights([0.5, 0.5], [0.4, 0.6]), weights([0.1, 0.2], [0.3, 0.4])]
    np.testing.assert_allclose(request.traced(rows=(0, 1))["look"][0, 0], [[1, 0], [0.4, 0.6]])


async def test_no_steps_have_no_weights(loop):
    assert make(loop, maps=("look",)).traced()["look"].shape == (1, 0, 0, 0)
