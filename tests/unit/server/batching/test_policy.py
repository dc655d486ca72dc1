import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.batching.policy import BatchLimits, choose
from tests.support.requests import make_request

LIMITS = BatchLimits(max_rows=8, max_tokens=1000, max_padding_ratio=0.2)
LOOP = asyncio.new_event_loop()


def waiting(*lengths: int, **more):
    return [make_request(length, loop=LOOP, **more) for length in lengths]


@pytest.fixture(scope="module", autouse=True)
def _close_loop():
    yield
    LOOP.close()


def lengths(batch):
    return [request.lengths["length"] for request in batch]


def test_nothing_waiting_gives_nothing():
    assert choose([], LIMITS) == []


def test_equal_lengths_run_together_up_to_the_row_limit():
    assert lengths(choose(waiting(*[10] * 12), LIMITS)) == [10] * 8


def test_a_length_far_off_waits_for_its_own_batch():
    assert lengths(choose(waiting(10, 100, 11), LIMITS)) == [10, 11]


def test_nearest_lengths_join_first():
    limits = BatchLimits(max_rows=2, max_tokens=1000, max_padding_ratio=0.5)
    assert lengths(choose(waiting(10, 14, 11), limits)) == [10, 11]


def test_a_single_request_over_the_token_limit_still_runs():
    limits = BatchLimits(max_rows=8, max_tokens=5, max_padding_ratio=0.2)
    assert lengths(choose(waiting(10, 10), limits)) == [10]


def test_other_groups_are_left_waiting():
    plain, explained = waiting(10, 10), waiting(10, outputs=("echo",))
    assert choose([plain[0], *explained, plain[1]], LIMITS) == plain


@given(
    st.lists(st.tuples(st.integers(1, 200), st.integers(1, 6)), min_size=1, max_size=40),
    st.integers(1, 16),
    st.integers(1, 2000),
    st.floats(0, 0.9),
)
def test_limits_hold_and_the_oldest_is_always_taken(shapes, max_rows, max_tokens, max_padding_ratio):
    requests = [make_request(length, rows, loop=LOOP) for length, rows in shapes]
    batch = choose(requests, BatchLimits(max_rows, max_tokens, max_padding_ratio))
    assert batch[0] is requests[0]
    assert len({id(request) for request in batch}) == len(batch)
    if len(batch) > 1:
        rows = sum(request.rows for request in batch)
        padded = rows * max(lengths(batch))
        assert rows <= max_rows
        assert padded <= max_tokens
        assert padded - sum(request.tokens for request in batch) <= max_padding_ratio * padded
