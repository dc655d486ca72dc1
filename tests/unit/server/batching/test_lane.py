import asyncio

import pytest

from server.batching.cost import Coefficients, Cost
from server.batching.lane import MAX_REMEMBERED, STEP_BOUND, Lane
from server.batching.queue import RequestQueue
from server.batching.variant import BatchLimits, Variant
from tests.support.requests import make_request
from tests.support.row_sums import layout_of, run_sums

LOOP = asyncio.new_event_loop()
COST = Coefficients(1e-3, 0.0, 1e-4, 0.0)


@pytest.fixture(scope="module", autouse=True)
def _close_loop():
    yield
    LOOP.close()


def variant(cost=COST, layout="rows", threads=1, outputs=("echo", "sum")):
    return Variant(layout_of(layout), "fp32", run_sums, frozenset(outputs), ("sum",), Cost(cost), threads=threads)


def lane(*variants):
    return Lane("m", 1, variants or (variant(),), BatchLimits(64, 1024), RequestQueue(1000))


def request(length=10, **more):
    return make_request(length, loop=LOOP, **{"outputs": ("sum",), **more})


def test_alone_a_request_takes_the_variant_that_does_it_best():
    dear = Coefficients(2e-3, 0.0, 1e-4, 0.0)
    assert lane(variant(dear), variant(layout="block-diagonal")).alone(request())[0] == pytest.approx(2e-3)


def test_a_variant_of_several_threads_counts_all_of_them():
    assert lane(variant(threads=4)).alone(request())[0] == pytest.approx(8e-3)


def test_only_variants_that_answer_the_request_count():
    cheap = Coefficients(1e-9, 0.0, 0.0, 0.0)
    both = lane(variant(), variant(cheap, "block-diagonal", outputs=("sum",)))
    assert both.alone(request(outputs=("echo",)))[0] == pytest.approx(2e-3)


def test_a_request_that_no_variant_answers_has_no_cost():
    with pytest.raises(ValueError, match="empty"):
        lane().alone(request(precision="int8"))


def test_what_is_remembered_of_shapes_is_bounded_and_renewed():
    one = lane()
    before = one.alone(request())[0]
    for _ in range(300):
        one.variants[0].cost.observe(one.variants[0].layout.work(1, 10, 10), 8e-3)
    assert one.alone(request())[0] == before
    for _ in range(MAX_REMEMBERED + 1):
        one.learn([request(alone_s=1.0)], 1.0, 1.0)
    assert one.alone(request())[0] > 2 * before
    assert len(one._alone) == 1


def test_running_averages_follow_what_runs_take():
    one = lane()
    for _ in range(100):
        one.learn([request(alone_s=0.02), request(alone_s=0.02)], core_s=0.03, run_s=0.015)
    assert one.efficiency == pytest.approx(0.75, rel=0.01)
    assert one.run_s == pytest.approx(0.015, rel=0.01)


def test_one_absurd_run_moves_the_averages_by_a_bounded_step():
    one = lane()
    for _ in range(10):
        one.learn([request(alone_s=0.02)], core_s=0.02, run_s=0.02)
    one.learn([request(alone_s=0.02)], core_s=3600.0, run_s=3600.0)
    assert one.efficiency <= 1 + 0.1 * STEP_BOUND
    assert one.run_s <= 0.02 * (1 + 0.1 * STEP_BOUND)


def test_a_first_run_that_is_absurd_is_bounded_by_what_was_predicted():
    one = lane()
    one.learn([request(alone_s=0.02)], core_s=3600.0, run_s=3600.0)
    assert one.run_s <= STEP_BOUND * 0.02


def test_a_queue_of_one_gains_nothing_and_a_longer_one_what_a_batch_saves():
    one = lane()
    assert one.gain() == 1.0
    for _ in range(50):
        one.queue.push(request())
    assert one.gain() == pytest.approx(50 * 2e-3 / (1e-3 + 50 * 1e-3), rel=0.2)


def test_a_lane_is_busy_while_anything_waits_or_runs():
    one, waiting = lane(), request()
    assert not one.busy
    one.queue.push(waiting)
    assert one.busy
    one.queue.remove(waiting)
    one.running = 1
    assert one.busy
