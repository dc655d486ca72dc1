import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.batching.cost import Coefficients, Cost
from server.batching.variant import REFRESH_RUNS, SIZES, BatchLimits, Variant
from tests.support.requests import make_request
from tests.support.row_sums import layout_of, run_sums

LIMITS = BatchLimits(max_rows=64, max_tokens=1024)


def variant(cost=None, layout="block-diagonal", precision="fp32"):
    cost = cost or Coefficients(1e-3, 0.0, 4e-5, 1e-8)
    return Variant(layout_of(layout), precision, run_sums, frozenset(("sum",)), ("sum",), Cost(cost))


def test_a_variant_is_named_by_layout_and_precision():
    assert variant(precision="int8").name == "block-diagonal/int8"


def test_a_variant_answers_what_it_has_in_its_precision_only():
    loop = asyncio.new_event_loop()
    known, other, int8 = (
        make_request(1, outputs=outputs, precision=precision, loop=loop)
        for outputs, precision in ((("sum",), "fp32"), (("sum", "echo"), "fp32"), (("sum",), "int8"))
    )
    loop.close()
    assert [variant().answers(request) for request in (known, other, int8)] == [True, False, False]


def test_where_runs_cost_a_fixed_time_large_batches_are_best_and_smaller_ones_enough():
    enough, best = variant(Coefficients(1e-2, 0.0, 1e-5, 0.0)).appetite(16, LIMITS)
    assert 16 < enough <= best == 1024


def test_where_attention_is_all_that_costs_a_row_alone_is_best():
    assert variant(Coefficients(0.0, 0.0, 0.0, 1e-6)).appetite(16, LIMITS) == (16, 16)


@given(
    st.integers(1, 2000),
    st.integers(1, 256),
    st.integers(1, 4096),
    st.builds(Coefficients, *[st.floats(1e-9, 1e-2)] * 4),
    st.sampled_from(["rows", "block-diagonal", "gathered"]),
)
def test_an_appetite_is_at_least_a_row_and_within_the_limits(length, max_rows, max_tokens, cost, layout):
    enough, best = variant(cost, layout).appetite(length, BatchLimits(max_rows, max_tokens))
    assert length <= enough <= best
    assert best == length or (best <= max_tokens and best <= max_rows * length)
    assert best // length in SIZES


def test_appetites_are_looked_at_again_after_some_hundred_runs():
    one = variant(Coefficients(1e-4, 0.0, 4e-5, 0.0))
    before = one.appetite(16, LIMITS)
    for number in range(REFRESH_RUNS):
        size = 16 * SIZES[number % 8]
        one.cost.observe(one.layout.work(size // 16, size, 16), 1.0 / size)
    assert one.appetite(16, LIMITS) == before
    one.cost.observe(one.layout.work(1, 16, 16), 1.0)
    assert one.appetite(16, LIMITS) != before


def test_the_cost_of_a_run_is_that_of_its_work():
    assert variant().seconds(2, 20, 10) == pytest.approx(1e-3 + 20 * 4e-5 + 400 * 1e-8)
