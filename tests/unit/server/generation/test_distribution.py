import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.generation.distribution import (
    BLOCK,
    CELLS,
    DRAWS,
    chunks,
    draw,
    keep_likely,
    keep_top_k,
    largest,
    log_softmax,
    log_totals,
    top_tokens,
    uniforms,
)

WIDTHS = (1, 2, 127, 128, 129, 1000, 5000)


def scores(rows, width, seed=0, decimals=None):
    made = np.random.default_rng(seed).normal(0, 3, (rows, width)).astype(np.float32)
    return made if decimals is None else made.round(decimals)


@pytest.mark.parametrize(("rows", "width"), [(0, 10), (1, 10), (100, 5000), (3, CELLS), (3, CELLS + 1), (40_000, 16)])
def test_chunks_cover_all_rows_once(rows, width):
    parts = list(chunks(rows, width))
    assert [row for part in parts for row in range(part.start, part.stop)] == list(range(rows))
    assert all((part.stop - part.start) * width <= max(CELLS, width) for part in parts)


@pytest.mark.parametrize("width", WIDTHS)
def test_log_softmax_is_that_of_float64(width):
    logits = scores(60, width)
    exact = logits.astype(np.float64) - np.log(np.exp(logits.astype(np.float64)).sum(axis=1, keepdims=True))
    assert log_softmax(logits) == pytest.approx(exact, abs=2e-5)


def test_log_totals_of_a_row_do_not_depend_on_the_others():
    logits = scores(60, 5000)
    together = log_totals(logits, logits.max(axis=1))
    alone = [log_totals(row[None], row.max(keepdims=True))[0] for row in logits]
    assert together.tolist() == alone


def test_impossible_tokens_have_no_part_in_the_total():
    logits = np.array([[1.0, -np.inf, 1.0]], np.float32)
    assert log_softmax(logits).tolist() == [[np.float32(-math.log(2)), -np.inf, np.float32(-math.log(2))]]


@pytest.mark.parametrize("bad", [[np.nan, 1.0], [np.inf, 1.0], [-np.inf, -np.inf]])
def test_a_row_without_a_distribution_gives_nan_and_harms_no_other(bad):
    found = log_softmax(np.array([[0.0, 0.0], bad], np.float32))
    assert found[0].tolist() == [np.float32(-math.log(2))] * 2
    assert np.isnan(found[1]).any()


@given(
    width=st.sampled_from(WIDTHS),
    count=st.integers(1, 300),
    decimals=st.sampled_from([0, 1, 6]),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_largest_are_sorted_and_equals_stand_by_index(width, count, decimals, seed):
    row = scores(1, width, seed, decimals)[0]
    assert largest(row, count).tolist() == sorted(range(width), key=lambda index: (-row[index], index))[:count]


def test_largest_counts_what_is_impossible_last():
    assert largest(np.array([-np.inf, 1.0, -np.inf], np.float32), 5).tolist() == [1, 0, 2]


def test_top_tokens_leave_out_what_is_impossible():
    found = top_tokens(np.array([-np.inf, 1.0, 1.0, 2.0], np.float32), 5, -3.0)
    assert found == ((3, -1.0), (1, -2.0), (2, -2.0))


@given(
    width=st.sampled_from(WIDTHS),
    ranks=st.lists(st.integers(0, 1200), min_size=1, max_size=40),
    decimals=st.sampled_from([0, 1, 6]),
)
@settings(max_examples=60, deadline=None)
def test_top_k_keeps_the_k_largest_of_each_row_and_their_equals(width, ranks, decimals):
    row = scores(len(ranks), width, decimals, decimals)
    expected = []
    for one, rank in zip(row.tolist(), ranks, strict=True):
        least = sorted(one)[-rank] if 0 < rank < width else -np.inf
        expected.append([score if score >= least else -np.inf for score in one])
    keep_top_k(row, np.array(ranks))
    assert row.tolist() == expected


def nucleus(weights, top_p):
    """The same by a walk from the likeliest down."""
    reached, goal = 0.0, top_p * math.fsum(weights)
    for least in sorted(weights, reverse=True):
        reached += least
        if reached >= goal or top_p == 1.0:
            break
    return least if top_p < 1.0 else 0.0


@given(
    width=st.sampled_from(WIDTHS),
    filters=st.lists(
        st.tuples(st.sampled_from([1.0, 0.999, 0.9, 0.5, 0.01, 1e-9]), st.sampled_from([0.0, 0.01, 0.3, 1.0])),
        min_size=1,
        max_size=30,
    ),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_top_p_and_min_p_keep_what_a_walk_from_the_likeliest_down_keeps(width, filters, seed):
    logits = scores(len(filters), width, seed)
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    least = [max(nucleus(row, p), np.float32(m)) for row, (p, m) in zip(weights.tolist(), filters, strict=True)]
    expected = np.where(weights >= np.array(least)[:, None], weights, 0.0)
    keep_likely(weights, np.array([p for p, _ in filters]), np.array([m for _, m in filters], np.float32))
    assert weights.tolist() == expected.tolist()


def test_top_p_keeps_the_likeliest_however_small_it_is():
    weights = np.ones((2, 3000), np.float32)
    weights[1, :-1] = 1e-30
    keep_likely(weights, np.array([1e-12, 1e-12]), np.zeros(2, np.float32))
    assert weights[0].tolist() == [1.0] * 3000  # equals of the last are kept
    assert np.flatnonzero(weights[1]).tolist() == [2999]


@given(width=st.sampled_from(WIDTHS), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_a_draw_is_where_the_running_sum_exceeds_the_share(width, seed):
    rng = np.random.default_rng(seed)
    weights = rng.random((20, width)).astype(np.float32) * (rng.random((20, width)) < 0.5)
    weights[:, rng.integers(width)] = 1.0
    shares = rng.random(20)
    for row, share, found in zip(weights.tolist(), shares, draw(weights, shares).tolist(), strict=True):
        goal = share * math.fsum(row)
        assert row[found] > 0.0
        assert math.fsum(row[:found]) <= goal * (1 + 1e-12)
        assert math.fsum(row[: found + 1]) >= goal * (1 - 1e-12)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0 - 2.0**-53])
@pytest.mark.parametrize("width", WIDTHS)
def test_only_a_token_with_weight_is_drawn_even_at_the_ends(width, share):
    for only in {0, width // 2, width - 1}:
        weights = np.zeros((1, width), np.float32)
        weights[0, only] = 0.1
        assert draw(weights, np.array([share])).tolist() == [only]


def test_sums_that_differ_in_the_last_bit_draw_nothing_beyond_the_last_token():
    rng = np.random.default_rng(0)
    weights = np.exp(rng.normal(0, 12, (2000, 2 * BLOCK)) - 40).astype(np.float32)
    weights[:, -5:] = 0.0  # a whole block's sum may be above what its weights, one by one, ever reach
    found = draw(weights, np.full(2000, 1.0 - 2.0**-53))
    assert found.max() == 2 * BLOCK - 6
    assert (weights[np.arange(2000), found] > 0.0).all()


@pytest.mark.parametrize("seed", [0, 1, 2**63 - 1])
def test_uniform_numbers_are_the_stream_of_philox_at_any_block(seed):
    stream = (np.random.Philox(key=seed).random_raw(5 * DRAWS) >> 11) / 2**53
    assert np.concatenate([uniforms(seed, block) for block in range(5)]).tolist() == stream.tolist()
    assert (stream >= 0.0).all()
    assert (stream < 1.0).all()
