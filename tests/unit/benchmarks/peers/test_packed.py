import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.peers.packed import NO_ROW, RUN_TOKENS, WINDOW, block_diagonal, gathered, in_order, in_sorted_windows

LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=12)


class SumsOfSegments:
    """Answers each row with the sums of its ids and of its positions, as the block-diagonal contract reads."""

    def run(self, outputs, inputs):
        self.inputs = inputs
        of_row = inputs["packed_rows"][:, None] == inputs["packed_segments"]
        return [np.stack([of_row @ inputs["input_ids"], of_row @ inputs["packed_positions"]], axis=1)]


class SumsOfPlaces:
    """The same as the gathered contract reads, by way of the padded rows and back."""

    def run(self, outputs, inputs):
        gather, present = inputs["packed_gather"], inputs["packed_present"]
        sums = []
        for name in ("input_ids", "packed_positions"):
            padded = np.where(present, inputs[name][gather], -7)
            returned = padded.reshape(-1)[inputs["packed_scatter"]]
            assert np.array_equal(returned, inputs[name])
            sums.append(np.where(present, padded, 0).sum(axis=1))
        return [np.stack(sums, axis=1)]


def rows_of(lengths):
    return [np.arange(1, length + 1, dtype=np.int64) * (index + 1) for index, length in enumerate(lengths)]


def expected(rows):
    return [[row.sum(), np.arange(len(row)).sum()] for row in rows]


@given(LENGTHS, st.sampled_from([1, 32]))
def test_block_diagonal_rows_get_the_sums_of_their_own_tokens(lengths, multiple):
    rows = rows_of(lengths)

    assert np.array_equal(block_diagonal(SumsOfSegments(), rows, multiple), expected(rows))


def test_block_diagonal_tokens_are_padded_with_what_belongs_to_no_row():
    session = SumsOfSegments()

    block_diagonal(session, rows_of([3, 5]), 32)

    assert {array.shape for name, array in session.inputs.items() if name != "packed_rows"} == {(32,)}
    assert {array.dtype for array in session.inputs.values()} == {np.dtype(np.int64)}
    assert session.inputs["packed_segments"].tolist() == [0] * 3 + [1] * 5 + [NO_ROW] * 24


@given(LENGTHS)
def test_gathered_rows_get_the_sums_of_their_own_tokens(lengths):
    rows = rows_of(lengths)

    assert np.array_equal(gathered(SumsOfPlaces(), rows), expected(rows))


@pytest.mark.parametrize("group", [in_order, in_sorted_windows])
@given(lengths=st.lists(st.integers(1, 300), min_size=1, max_size=400))
def test_every_request_runs_once_in_runs_that_are_no_longer_than_asked(group, lengths):
    runs = group(lengths)

    assert sorted(number for run in runs for number in run) == list(range(len(lengths)))
    assert all(len(run) == 1 or sum(lengths[number] for number in run) <= RUN_TOKENS for run in runs)


def test_arrival_order_is_kept():
    assert [number for run in in_order([200, 30, 60, 7]) for number in run] == [0, 1, 2, 3]


def test_requests_are_sorted_within_their_window_alone():
    lengths = [*range(WINDOW, 0, -1), 5, 3]

    order = [number for run in in_sorted_windows(lengths) for number in run]

    assert order == [*range(WINDOW - 1, -1, -1), WINDOW + 1, WINDOW]
