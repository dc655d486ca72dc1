import pytest

from server.batching.queue import RequestQueue
from server.errors import DeadlineExpired, QueueFull
from tests.support.requests import make_request


async def test_order_is_by_priority_then_by_arrival():
    queue = RequestQueue(10)
    low, high, second_low = make_request(1), make_request(1, priority=5), make_request(1)
    for request in (low, high, second_low):
        queue.push(request)
    assert list(queue) == [high, low, second_low]


async def test_full_queue_refuses_without_waiting():
    queue = RequestQueue(3)
    queue.push(make_request(1, rows=2))
    with pytest.raises(QueueFull) as caught:
        queue.push(make_request(1, rows=2))
    assert caught.value.metadata == {"queue_rows": "2", "capacity_rows": "3"}
    queue.push(make_request(1, rows=1))
    assert (len(queue), queue.rows) == (2, 3)


async def test_removing_frees_rows_once():
    queue = RequestQueue(3)
    request = make_request(1, rows=2)
    queue.push(request)
    assert queue.remove(request)
    assert not queue.remove(request)
    assert (len(queue), queue.rows) == (0, 0)


async def test_expired_and_cancelled_requests_leave_and_the_others_stay():
    queue = RequestQueue(10)
    late, gone, waiting = make_request(1, deadline=5.0), make_request(1), make_request(1, deadline=6.0)
    for request in (late, gone, waiting):
        queue.push(request)
    gone.reply.cancel()
    assert queue.expire(now=5.0) == [late, gone]
    assert list(queue) == [waiting]
    assert isinstance(late.reply.exception(), DeadlineExpired)
