"""What the queue does to a request costs O(log n) in the number that wait: counted in steps of Python, not in time.

A step is a call of a function, written in Python or in C. What C does inside one call is a linked list's, a
dictionary's, a heap's or a binary search's; moving the pointers behind a place in the list of distinct lengths is the
one exception, and there are no more lengths than the model has.
"""

import asyncio
import sys
from random import Random

import pytest

from server.batching.cost import Coefficients, Cost, Work
from server.batching.lane import Lane
from server.batching.policy import choose
from server.batching.queue import RequestQueue
from server.batching.request import Answer, Request
from server.batching.variant import BatchLimits, Variant
from tests.support.requests import make_request
from tests.support.row_sums import layout_of, run_sums

SIZES = (100, 10_000, 100_000)
COST = Coefficients(1e-3, 1e-5, 4e-5, 1e-8)
LIMITS = BatchLimits(64, 1024)
LAYOUTS = ("rows", "block-diagonal", "gathered")
REPEATED = 20


def bystander(random: Random, deadline: float, reply: "asyncio.Future[Answer]") -> Request:
    """A request like any other, but for arrays and a reply of its own: a hundred thousand of them wait."""
    request = Request(
        inputs={},
        outputs=("sum",),
        rows=1,
        lengths={"length": random.randint(1, 256)},
        request_id="",
        group=("fp32", frozenset(("sum",))),
        enqueued_at=0.0,
        deadline=deadline,
        reply=reply,
        priority=random.randint(-4, 4),
    )
    request.alone_s = COST.seconds(Work(1, request.tokens, request.tokens**2))
    return request


@pytest.fixture(scope="module")
def queues():
    """By size: a queue of requests of all priorities and lengths, each with a deadline."""
    loop, random, found = asyncio.new_event_loop(), Random(0), {}
    reply = loop.create_future()
    for size in SIZES:
        queue = found[size] = RequestQueue(10**6)
        for number in range(size):
            queue.push(bystander(random, 10.0 + number, reply))
    yield found, loop
    loop.close()


def steps(action) -> int:
    """Calls made while `action` runs."""
    count = 0

    def note(_frame, event, _argument):
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        action()
    finally:
        sys.setprofile(None)
    return count


def grows_no_more_than_the_logarithm(by_size) -> bool:
    """From a hundred to a hundred thousand the logarithm grows by 2.5; nothing here may grow faster."""
    small, middle, large = (by_size[size] for size in SIZES)
    return middle <= 2.0 * small and large <= 2.5 * small


def lane_of(queue):
    variants = [
        Variant(layout_of(name), "fp32", run_sums, frozenset(("sum",)), ("sum",), Cost(COST)) for name in LAYOUTS
    ]
    return Lane("m", 1, variants, LIMITS, queue)


def test_queueing_and_leaving(queues):
    found, loop = queues
    random = Random(1)
    pushed, removed = {}, {}
    for size, queue in found.items():
        new = [
            make_request(
                random.randint(1, 256), priority=random.randint(-4, 4), outputs=("sum",), deadline=1e6, loop=loop
            )
            for _ in range(REPEATED)
        ]
        pushed[size] = steps(lambda new=new, queue=queue: [queue.push(one) for one in new])
        removed[size] = steps(lambda new=new, queue=queue: [queue.remove(one) for one in reversed(new)])
        assert len(queue) == size
    assert grows_no_more_than_the_logarithm(pushed)
    assert grows_no_more_than_the_logarithm(removed)


def test_choosing_a_batch(queues):
    found, _ = queues
    chosen, aged = {}, {}
    for size, queue in found.items():
        lane = lane_of(queue)
        looked_up = choose(queue, lane.variants, LIMITS, 2, 0.0, 1.0)  # what sizes a variant likes is found once
        assert len(looked_up.requests) > 1
        chosen[size] = steps(lambda queue=queue, lane=lane: choose(queue, lane.variants, LIMITS, 2, 0.0, 1.0))
        aged[size] = steps(lambda queue=queue, lane=lane: choose(queue, lane.variants, LIMITS, 2, 5.0, 1.0))
    assert grows_no_more_than_the_logarithm(chosen)
    assert grows_no_more_than_the_logarithm(aged)


def test_looking_whether_any_has_expired_and_what_is_ahead(queues):
    found, _ = queues
    looked = {}
    for size, queue in found.items():
        lane = lane_of(queue)
        lane.gain()
        looked[size] = steps(lambda queue=queue, lane=lane: (queue.expire(0.0), queue.ahead_s(0), lane.gain()))
    assert grows_no_more_than_the_logarithm(looked)


def test_expiring_costs_by_the_number_that_expire(queues):
    found, _ = queues
    expired = {}
    for size, queue in found.items():
        due = {}

        def expire(queue=queue, due=due):
            due["found"] = queue.expire(9.5 + REPEATED)

        expired[size] = steps(expire)
        assert len(due["found"]) == REPEATED
        for request in due["found"]:
            queue.push(request)
    assert grows_no_more_than_the_logarithm(expired)


def test_serving_a_queue_to_its_end_costs_the_same_for_each_request(queues):
    """From end to end, the sweeping of stale deadlines included."""
    _, loop = queues
    random, reply = Random(2), loop.create_future()
    each = {}
    for size in (200, 2_000):
        queue = RequestQueue(10**6)
        lane = lane_of(queue)
        requests = [bystander(random, 1e6, reply) for _ in range(size)]

        def serve(queue=queue, lane=lane, requests=requests):
            for request in requests:
                queue.push(request)
            while batch := choose(queue, lane.variants, LIMITS, 2, 0.0, 1.0):
                for request in batch.requests:
                    queue.remove(request)

        each[size] = steps(serve) / size
    assert each[2_000] <= 1.5 * each[200]
