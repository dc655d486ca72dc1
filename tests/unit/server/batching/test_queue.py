import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.batching.queue import COMPACT_ABOVE, RequestQueue
from server.errors import QueueFull
from tests.support.requests import make_request

LOOP = asyncio.new_event_loop()


@pytest.fixture(scope="module", autouse=True)
def _close_loop():
    yield
    LOOP.close()


def queue_of(*requests, capacity=1000):
    queue = RequestQueue(capacity)
    for request in requests:
        queue.push(request)
    return queue


def request(length=1, rows=1, **more):
    return make_request(length, rows, loop=LOOP, **more)


def test_order_is_by_priority_then_by_arrival():
    low, high, second_low = request(), request(priority=5), request()
    assert list(queue_of(low, high, second_low)) == [high, low, second_low]


def test_full_queue_refuses_without_waiting():
    queue = queue_of(request(rows=2), capacity=3)
    with pytest.raises(QueueFull) as caught:
        queue.push(request(rows=2))
    assert caught.value.metadata == {"queue_rows": "2", "capacity_rows": "3"}
    queue.push(request(rows=1))
    assert (len(queue), queue.rows) == (2, 3)


def test_removing_frees_rows_and_tokens_once():
    waiting = request(5, rows=2)
    queue = queue_of(waiting)
    assert (queue.rows, queue.tokens) == (2, 10)
    assert queue.remove(waiting)
    assert not queue.remove(waiting)
    assert (len(queue), queue.rows, queue.tokens) == (0, 0, 0)


def test_the_expired_leave_in_the_order_of_their_deadlines_and_the_others_stay():
    late, later, waiting, patient = (request(deadline=at) for at in (5.0, 4.0, 6.0, None))
    queue = queue_of(late, later, waiting, patient)
    assert queue.expire(now=5.0) == [later, late]
    assert list(queue) == [waiting, patient]
    assert queue.expire(now=5.5) == []


def test_who_left_before_the_deadline_does_not_expire():
    gone, waiting = request(deadline=1.0), request(deadline=2.0)
    queue = queue_of(gone, waiting)
    queue.remove(gone)
    assert queue.expire(now=3.0) == [waiting]


def test_deadlines_of_those_who_left_do_not_pile_up():
    queue = RequestQueue(10)
    for _ in range(10 * COMPACT_ABOVE):
        leaving = request(deadline=1e9)
        queue.push(leaving)
        queue.remove(leaving)
    assert len(queue._deadlines) <= COMPACT_ABOVE + 1


def test_the_head_is_who_is_first_in_order_until_somebody_has_waited_too_long():
    old, urgent = request(enqueued_at=1.0), request(enqueued_at=2.0, priority=3)
    queue = queue_of(old, urgent)
    assert queue.head(now=1.9, max_age_s=1.0) is urgent
    assert queue.head(now=2.0, max_age_s=1.0) is old


def test_an_empty_queue_has_no_head():
    with pytest.raises(IndexError):
        RequestQueue(1).head(0.0, 1.0)


def test_company_is_those_of_the_same_group_in_the_order_of_service():
    plain, echoing, second = request(), request(outputs=("echo",)), request(priority=1)
    queue = queue_of(plain, echoing, second)
    assert list(queue.company(plain)) == [second, plain]
    assert list(queue.company(echoing)) == [echoing]


def test_seconds_ahead_are_those_of_this_priority_and_above():
    low, high = request(alone_s=1.0), request(priority=2, alone_s=0.25)
    queue = queue_of(low, high)
    assert [queue.ahead_s(priority) for priority in (0, 1, 3)] == [1.25, 0.25, 0.0]
    assert queue.ahead_s() == 1.25
    queue.remove(low)
    assert queue.ahead_s() == 0.25


def test_waiting_of_every_priority_is_ahead_where_all_is_asked():
    assert queue_of(request(priority=-4, alone_s=1.0)).ahead_s() == 1.0


Step = st.tuples(
    st.sampled_from(["push", "remove", "expire"]), st.integers(1, 6), st.integers(-2, 2), st.integers(0, 9)
)


@given(st.lists(Step, max_size=60))
def test_the_queue_agrees_with_a_sorted_list(steps):
    """Whatever comes and goes: the same requests, in the same order, and the same sums."""
    queue, model, clock = RequestQueue(10**6), [], 0.0
    for action, length, priority, pick in steps:
        clock += 0.5
        if action == "push":
            deadline = clock + pick if pick < 8 else None
            new = request(
                length, priority=priority, deadline=deadline, enqueued_at=clock, outputs=("sum", "echo")[: 1 + pick % 2]
            )
            queue.push(new)
            model.append(new)
        elif action == "remove" and model:
            leaving = model.pop(pick % len(model))
            assert queue.remove(leaving)
        elif action == "expire":
            due = [one for one in model if one.deadline is not None and one.deadline <= clock]
            assert sorted(map(id, queue.expire(clock))) == sorted(map(id, due))
            model = [one for one in model if one not in due]
        ordered = sorted(model, key=lambda one: (-one.priority, one.enqueued_at))
        assert list(queue) == ordered
        assert (len(queue), queue.tokens) == (len(model), sum(one.tokens for one in model))
        for head in ordered[:1]:
            company = [one for one in ordered if one.group == head.group]
            assert list(queue.company(head)) == company
            assert queue.head(clock, max_age_s=0.0) is min(model, key=lambda one: one.enqueued_at)
