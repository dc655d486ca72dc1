import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.generation.rows import LiveRows


def joined(rows, *owners):
    return [
        rows.join(owner, token=number, limit=5, forced=False, resting=False, beams=False)
        for number, owner in enumerate(owners)
    ]


def test_rows_join_at_the_end_and_begin_with_nothing_of_who_was_there_before():
    rows = LiveRows(2)
    assert joined(rows, "a", "b") == [0, 1]
    rows.lengths[1], rows.written[1], rows.scores[1] = 7, 3, -2.0
    rows.leave(1)
    assert rows.join("c", token=9, limit=4, forced=True, resting=True, beams=True) == 1
    assert (rows.tokens[1, 0], rows.limits[1], rows.forced[1], rows.resting[1], rows.beams[1]) == (
        9,
        4,
        True,
        True,
        True,
    )
    assert (rows.lengths[1], rows.written[1], rows.scores[1]) == (0, 0, 0.0)


def test_a_row_beyond_the_most_is_refused():
    rows = LiveRows(1)
    joined(rows, "a")
    with pytest.raises(IndexError):
        joined(rows, "b")


def test_the_last_row_takes_the_place_of_one_that_leaves():
    rows = LiveRows(3)
    joined(rows, "a", "b", "c")
    rows.lengths[:3] = 1, 2, 3
    assert rows.leave(0) == "c"
    assert (rows.owners, rows.lengths[:2].tolist(), rows.tokens[:2, 0].tolist()) == (["c", "b"], [3, 2], [2, 1])
    assert rows.leave(1) is None
    assert rows.owners == ["c"]


def test_rows_that_rest_are_not_active_but_count_in_the_longest():
    rows = LiveRows(3)
    joined(rows, "a", "b", "c")
    rows.lengths[:3] = 4, 9, 2
    rows.resting[1] = True
    assert rows.active().tolist() == [0, 2]
    assert rows.longest() == 9


def test_no_rows_have_no_longest():
    assert LiveRows(3).longest() == 0


def test_beams_take_their_parents_lengths():
    rows = LiveRows(3)
    joined(rows, "a", "a", "a")
    rows.lengths[:3] = 4, 0, 0
    rows.reorder([1, 2], [0, 0])
    assert rows.lengths[:3].tolist() == [4, 4, 4]


def test_clearing_leaves_no_rows():
    rows = LiveRows(2)
    joined(rows, "a", "b")
    rows.clear()
    assert (rows.count, rows.owners) == (0, [])
    assert joined(rows, "c", "d") == [0, 1]


@given(st.lists(st.one_of(st.none(), st.integers(0, 7)), max_size=40))
def test_each_owner_keeps_its_own_numbers_whoever_joins_and_leaves(moves):
    """None joins; a number leaves that row, of those there are."""
    rows, number, own = LiveRows(8), 0, {}
    for move in moves:
        if move is None and rows.count < 8:
            number += 1
            rows.lengths[rows.join(number, token=number, limit=1, forced=False, resting=False, beams=False)] = number
            own[number] = number
        elif move is not None and move < rows.count:
            del own[rows.owners[move]]
            rows.leave(move)
    assert dict(zip(rows.owners, rows.lengths[: rows.count].tolist(), strict=True)) == own
    assert np.array_equal(rows.tokens[: rows.count, 0], rows.lengths[: rows.count])
