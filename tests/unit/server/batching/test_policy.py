import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.batching.cost import Coefficients, Cost
from server.batching.policy import PATIENCE, PREDICTION_MARGIN, WINDOW, choose
from server.batching.queue import RequestQueue
from server.batching.variant import BatchLimits, Variant
from tests.support.requests import make_request
from tests.support.row_sums import layout_of, run_sums

LIMITS = BatchLimits(max_rows=8, max_tokens=1000)
LOOP = asyncio.new_event_loop()
DEAR_RUNS = Coefficients(fixed_s=1.0, row_s=0.0, token_s=1e-4, pair_s=0.0)
"""A run costs so much that company always pays."""
PER_TOKEN = Coefficients(fixed_s=0.002, row_s=0.0, token_s=1e-4, pair_s=0.0)
"""A run costs twenty tokens: company pays unless it is padded with more."""


@pytest.fixture(scope="module", autouse=True)
def _close_loop():
    yield
    LOOP.close()


def variant(cost=PER_TOKEN, layout="rows", threads=1, outputs=("echo", "sum", "moment")):
    return Variant(
        layout_of(layout), "fp32", run_sums, frozenset(outputs), ("sum",), Cost(cost), threads=threads, counts_cpu=False
    )


def waiting(*shapes, on=None, **more):
    """Requests of these lengths, or (length, rows), queued."""
    queue, variants = RequestQueue(10**6), on or [variant()]
    requests = []
    for shape in shapes:
        length, rows = shape if isinstance(shape, tuple) else (shape, 1)
        one = make_request(length, rows, loop=LOOP, **more)
        add(queue, one, variants)
        requests.append(one)
    return queue, requests


def add(queue, request, variants):
    request.alone_s = min(one.seconds(request.rows, request.tokens, request.length) * one.threads for one in variants)
    queue.push(request)


def chosen(queue, variants=None, limits=LIMITS, cores=1, now=0.0, max_age_s=1.0):
    return choose(queue, variants or [variant()], limits, cores, now, max_age_s)


def lengths(batch):
    return [request.length for request in batch.requests]


def test_nothing_waiting_gives_nothing():
    assert chosen(RequestQueue(1)) is None


def test_choosing_leaves_the_queue_as_it_is():
    queue, requests = waiting(10, 11, 12)
    chosen(queue)
    assert list(queue) == requests


def test_equal_lengths_run_together_up_to_the_row_limit():
    on = [variant(DEAR_RUNS)]
    queue, _ = waiting(*[10] * 12, on=on)
    assert lengths(chosen(queue, on)) == [10] * 8


def test_a_length_far_off_waits_for_its_own_batch():
    queue, _ = waiting(10, 100, 11)
    assert lengths(chosen(queue)) == [10, 11]


def test_nearest_lengths_join_first():
    queue, _ = waiting(10, 14, 11)
    assert lengths(chosen(queue, limits=BatchLimits(3, 1000))) == [10, 11]


def test_where_rows_are_packed_the_order_of_arrival_decides_who_joins():
    on = [variant(layout="block-diagonal")]
    queue, _ = waiting(10, 14, 11, on=on, outputs=("sum",))
    assert lengths(chosen(queue, on, BatchLimits(3, 1000))) == [10, 14]


def test_a_single_request_over_the_token_limit_still_runs():
    queue, _ = waiting(10, 10)
    assert lengths(chosen(queue, limits=BatchLimits(8, 5))) == [10]


def test_other_groups_are_left_waiting():
    queue, (first, second) = waiting(10, 10)
    add(queue, make_request(10, loop=LOOP, outputs=("echo",)), [variant()])
    assert chosen(queue).requests == [first, second]


def test_company_that_costs_as_much_as_a_run_of_its_own_does_not_join():
    free = Coefficients(fixed_s=0.0, row_s=0.0, token_s=1e-4, pair_s=0.0)
    on = [variant(free)]
    queue, _ = waiting(10, 10, on=on)
    assert lengths(chosen(queue, on)) == [10]


def test_a_variant_that_does_not_offer_what_is_asked_is_not_taken():
    cheap = Coefficients(1e-9, 0.0, 1e-9, 0.0)
    on = [variant(), variant(cheap, "block-diagonal", outputs=("sum",))]
    queue, _ = waiting(10, on=on[:1], outputs=("echo",))
    assert chosen(queue, on).variant is on[0]
    queue, _ = waiting(10, on=on, outputs=("sum",))
    assert chosen(queue, on).variant is on[1]


def test_where_no_variant_answers_the_request_choosing_fails():
    queue, _ = waiting(10, outputs=("echo",))
    with pytest.raises(ValueError, match="no variant"):
        chosen(queue, [variant(outputs=("sum",))])


def test_a_run_on_two_threads_must_gain_in_core_seconds():
    """Half the time on twice the cores gains nothing; the run of one thread leaves the other core to others."""
    half = Coefficients(*(part / 1.5 for part in (PER_TOKEN.fixed_s, 0.0, PER_TOKEN.token_s, 0.0)))
    on = [variant(PER_TOKEN), variant(half, threads=2)]
    queue, _ = waiting(10, 10, on=on)
    assert chosen(queue, on).variant is on[0]


def test_the_oldest_goes_first_once_it_has_waited_too_long():
    queue, (old,) = waiting(10)
    urgent = make_request(500, loop=LOOP, priority=4, enqueued_at=1.0)
    add(queue, urgent, [variant()])
    assert chosen(queue, now=0.5).requests == [urgent]
    assert chosen(queue, now=1.5, max_age_s=1.0).requests == [old]


def test_nobody_joins_who_would_make_it_too_late_for_the_first():
    on = [variant(DEAR_RUNS)]
    queue, (first, _) = waiting(10, 10, on=on)
    first.deadline = 5.0
    alone, together = (on[0].seconds(rows, 10 * rows, 10) for rows in (1, 2))
    assert len(chosen(queue, on, now=5.0 - PREDICTION_MARGIN * together).requests) == 2
    assert chosen(queue, on, now=5.0 - PREDICTION_MARGIN * alone).requests == [first]


def test_nobody_joins_whose_own_deadline_the_batch_would_miss():
    on = [variant(DEAR_RUNS)]
    queue, (first, tight, third) = waiting(10, 10, 10, on=on)
    tight.deadline = 0.5
    assert chosen(queue, on).requests == [first, third]


def test_a_first_that_is_too_late_in_any_case_does_not_keep_others_out():
    on = [variant(DEAR_RUNS)]
    queue, (first, second) = waiting(10, 10, on=on)
    first.deadline = 0.1
    assert chosen(queue, on).requests == [first, second]


def test_the_cores_share_what_waits_where_a_batch_of_all_would_leave_one_idle():
    on = [variant(PER_TOKEN, "block-diagonal")]
    queue, _ = waiting(*[40] * 16, on=on, outputs=("sum",))
    limits = BatchLimits(64, 10_000)
    whole, half = (chosen(queue, on, limits, cores=cores) for cores in (1, 2))
    assert len(half.requests) < len(whole.requests)


def test_looking_for_company_gives_up_after_a_while():
    """Behind many that are too long for the batch, one that would fit is not looked for without end."""
    on = [variant(PER_TOKEN, "block-diagonal")]
    queue, _ = waiting(10, *[995] * (PATIENCE + 1), 11, on=on, outputs=("sum",))
    assert lengths(chosen(queue, on)) == [10]


Shapes = st.lists(st.tuples(st.integers(1, 200), st.integers(1, 6)), min_size=1, max_size=40)
Parts = st.floats(1e-7, 1e-2)


Costs = st.builds(Coefficients, Parts, Parts, Parts, Parts)


@given(
    Shapes,
    st.integers(1, 16),
    st.integers(1, 2000),
    st.tuples(Costs, Costs, Costs),
    st.tuples(*[st.integers(1, 3)] * 3),
    st.integers(1, 4),
)
def test_limits_hold_the_first_is_taken_and_everybody_gains(shapes, max_rows, max_tokens, costs, threads, cores):
    layouts = ("rows", "block-diagonal", "gathered")
    on = [variant(*each) for each in zip(costs, layouts, threads, strict=True)]
    queue, requests = waiting(*shapes, on=on, outputs=("sum",))
    batch = chosen(queue, on, BatchLimits(max_rows, max_tokens), cores)
    assert batch.requests[0] is requests[0]
    assert len({id(request) for request in batch.requests}) == len(batch.requests)
    rows, tokens = (sum(getattr(request, name) for request in batch.requests) for name in ("rows", "tokens"))
    assert batch.work == batch.variant.layout.work(rows, tokens, max(lengths(batch)))
    assert batch.seconds == batch.variant.cost.seconds(batch.work)
    if len(batch.requests) > 1:
        assert rows <= max_rows
        assert batch.work.tokens <= max_tokens
        first = batch.requests[0]
        begun = batch.variant.seconds(first.rows, first.tokens, first.length) * batch.variant.threads
        others = sum(request.alone_s for request in batch.requests[1:])
        assert batch.seconds * batch.variant.threads <= (begun + others) * (1 + 1e-9)


@given(st.lists(st.integers(1, 4), min_size=2, max_size=30), st.sampled_from(["rows", "block-diagonal", "gathered"]))
def test_equals_keep_their_order(lengths_of, layout):
    """Of the same group, length and priority, nobody is taken before somebody who came earlier."""
    on = [variant(PER_TOKEN, layout)]
    queue, requests = waiting(*lengths_of, on=on, outputs=("sum",))
    taken = chosen(queue, on).requests
    for length in set(lengths_of):
        same = [request for request in requests if request.length == length]
        assert [request in taken for request in same] == sorted((request in taken for request in same), reverse=True)
        assert [request for request in taken if request.length == length] == same[: sum(r in taken for r in same)]


def test_a_batch_whose_callers_have_gone_is_as_small_and_as_cheap_as_what_is_left():
    packed = variant(layout="block-diagonal")
    queue, (first, second, third) = waiting(10, 10, 10, on=[packed])
    batch = choose(queue, [packed], LIMITS, cores=1, now=0.0, max_age_s=100.0)
    assert batch.work.tokens == 30
    second.reply.cancel()
    batch.leave_out_the_dead()
    assert batch.requests == [first, third]
    assert (batch.work.rows, batch.work.tokens) == (2, 20)
    assert batch.seconds == pytest.approx(packed.seconds(2, 20, 10))
    for one in (first, third):
        one.reply.cancel()
    batch.leave_out_the_dead()
    assert batch.requests == [first]


def test_of_a_like_length_only_those_whose_turn_is_near_go_before_others():
    queue, requests = waiting(10, *[30] * (WINDOW - 1), *[10] * 4, on=[variant(DEAR_RUNS)])
    batch = chosen(queue, [variant(DEAR_RUNS)], BatchLimits(max_rows=4, max_tokens=1000))
    assert len(batch.requests) > 1
    assert set(map(id, batch.requests)) <= set(map(id, requests[:WINDOW]))


def test_a_batch_may_be_larger_than_the_part_of_the_queue_that_is_sorted():
    queue, requests = waiting(*[10] * (2 * WINDOW), on=[variant(DEAR_RUNS)])
    batch = chosen(queue, [variant(DEAR_RUNS)], BatchLimits(max_rows=10**6, max_tokens=10**6))
    assert batch.requests == requests
