"""The running batch by itself, run by run."""

import asyncio

import numpy as np
import pytest

from server.batching.request import Rows
from server.clock import ManualClock
from server.errors import InferenceFailed
from server.generation.decoding import Decoding
from server.generation.request import GenerationRequest
from server.generation.result import FinishReason
from server.generation.running import RunningBatch
from server.generation.slots import Slots, StatesFull
from server.generation.steps import make_steps
from tests.support.adder import BREAKS, KILLS, START, Adder, written
from tests.support.simulation import ThreadDeath

ROWS = 6


class Batch(RunningBatch):
    """A running batch of an adder."""

    def __init__(self, kind="shared", encodes=False, max_new=4):
        self.adder = Adder(kind, encodes, max_new)
        manifest = self.adder.manifest()
        slots = Slots(manifest.states, max_rows=ROWS, max_bytes=2**20, first_rows=1, first_length=1)
        steps = make_steps(manifest.generation, manifest.states, slots, self.adder.graphs(), ROWS)
        super().__init__(manifest, slots, steps, ROWS, ManualClock())

    def ask(self, *prompt, max_tokens=6, **decoding):
        """A request that has joined."""
        feed = (START, *prompt)
        request = GenerationRequest(
            request_id="r",
            encoded=Rows(inputs={}, outputs=(), rows=1, lengths={"length": 2}) if self.adder.encodes else None,
            feed=feed,
            prompt_tokens=len(prompt),
            context=feed,
            decoding=Decoding(max_tokens=max_tokens, **decoding),
            maps=(),
            enqueued_at=0.0,
            deadline=None,
            reply=asyncio.get_running_loop().create_future(),
            reader=None,
        )
        self.join(request, {"source": np.array([[5, 6]])} if self.adder.encodes else {})
        return request

    def write(self):
        """Until everybody is done; who is done leaves."""
        while self.requests:
            for request in list(self.requests):
                while self.reads(request):
                    self.read(request, 3)
            if self.steppable and not self.finished:
                self.step(())
            for request in self.finished:
                self.leave(request)
            self.finished.clear()


@pytest.mark.parametrize("kind", ["sums", "shared", "copied"])
async def test_each_request_is_written_as_by_itself(kind):
    batch = Batch(kind)
    asked = [batch.ask(*prompt, min_tokens=2) for prompt in ((), (5,), (6, 7, 8), (9, 10, 11, 12, 13))]
    batch.write()
    for request in asked:
        ids, finish = written(request.feed, max_tokens=6, min_tokens=2)
        assert (tuple(request.ids), request.finish) == (ids, finish)
    assert not batch.adder.broken


async def test_a_request_whose_prompt_is_read_by_parts_rests_until_it_is_read():
    batch = Batch()
    request = batch.ask(5, 6, 7, 8, 9)
    assert batch.reads(request)
    assert not batch.steppable
    assert [batch.read(request, 4).tokens, batch.read(request, 4).tokens] == [4, 2]
    assert not batch.reads(request)
    assert batch.steppable
    assert len(request.ids) == 1, "the last part gives the first token"


async def test_the_first_token_may_be_the_last():
    batch = Batch()
    request = batch.ask(5, 6, max_tokens=1, min_tokens=1)
    batch.read(request, 4)
    assert (batch.finished, request.finish) == ([request], FinishReason.LENGTH)


async def test_beams_share_what_one_of_them_has_read():
    batch = Batch()
    request = batch.ask(5, 6, 7, num_beams=3)
    batch.read(request, 4)
    assert [batch.rows.lengths[row] for row in request.live] == [4, 4, 4]
    assert len({batch.rows.tokens[row, 0] for row in request.live}) == 3


async def test_leaving_twice_does_nothing():
    batch = Batch()
    one, other = batch.ask(5), batch.ask(6)
    batch.leave(one)
    batch.leave(one)
    assert (batch.rows.count, other.live) == (1, [0])


async def test_an_empty_batch_gives_its_buffers_back():
    batch = Batch()
    small = batch.slots.state_bytes
    batch.ask(*[5] * 20)
    batch.ask(6)
    batch.write()
    assert batch.slots.state_bytes == small


async def test_where_there_is_no_room_for_a_position_no_row_runs_without_it():
    """Row by row, too: a run past the end of a buffer would write into the row behind it."""
    batch = Batch()
    one, other = batch.ask(5, 6, 7), batch.ask(6)
    for request in (one, other):
        while batch.reads(request):
            batch.read(request, 4)
    reserve = batch.slots.reserve

    def refuse(rows, lengths):
        if max(lengths.values(), default=0) > 4:
            raise StatesFull("the system has not so many bytes")
        reserve(rows, lengths)

    batch.slots.reserve = refuse
    batch.step(())
    assert [request for request, _ in batch.failed] == [one]
    assert isinstance(batch.failed[0][1], InferenceFailed)
    assert not batch.adder.broken
    assert len(other.ids) == 2


async def test_a_part_of_a_prompt_that_fails_gives_the_request_up():
    batch = Batch()
    request = batch.ask(5, BREAKS, 7)
    assert batch.read(request, 4).failed
    assert [one for one, _ in batch.failed] == [request]


async def test_clearing_leaves_nothing_whatever_a_run_has_left_behind():
    batch = Batch("sums", max_new=1)
    batch.ask(5)
    batch.ask(KILLS)
    join = batch._sampler.join
    batch._sampler.join = lambda *_: (_ for _ in ()).throw(ThreadDeath())
    with pytest.raises(ThreadDeath):
        batch.ask(6)
    batch._sampler.join = join
    assert len(batch.clear()) == 2
    assert (batch.rows.count, batch.slots.rows, len(batch._sampler)) == (0, 0, 0)
    request = batch.ask(5, 6)
    batch.write()
    assert tuple(request.ids) == written(request.feed, max_tokens=6)[0]


async def test_the_most_rows_that_ran_with_a_request_are_remembered():
    batch = Batch("sums", max_new=1)
    long = batch.ask(max_tokens=9, min_tokens=9)
    batch.step(())
    short = batch.ask(max_tokens=2, min_tokens=2)
    batch.ask(max_tokens=2, min_tokens=2)
    batch.write()
    late = batch.ask(max_tokens=2, min_tokens=2)
    batch.write()
    assert (long.most_rows, short.most_rows, late.most_rows) == (3, 3, 1)


async def test_promises_are_the_longest_that_requests_may_become():
    batch = Batch(encodes=True)
    one, other = batch.ask(5, 6, max_tokens=9), batch.ask(max_tokens=4)
    assert batch.lengths_of([one, other]) == {"length": 2, "position": 11}
