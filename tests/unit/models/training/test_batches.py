from hypothesis import given
from hypothesis import strategies as st

from models.training.batches import LengthBuckets, in_length_order

lengths = st.lists(st.integers(1, 200), min_size=1, max_size=300)


@given(lengths, st.integers(1, 16), st.integers(1, 4))
def test_every_row_trains_once_an_epoch_but_for_filling_up(rows, batch_size, processes):
    parts = [list(LengthBuckets(rows, batch_size, "0 0", number, processes)) for number in range(processes)]
    assert len({len(part) for part in parts}) == 1
    batches = [batch for part in parts for batch in part]
    distinct = {tuple(batch) for batch in batches}
    assert sorted(index for batch in distinct for index in batch) == list(range(len(rows)))
    assert len(batches) - len(distinct) < processes


def test_the_seed_alone_decides_the_order():
    rows = list(range(1, 200))
    assert list(LengthBuckets(rows, 8, "0 1")) == list(LengthBuckets(rows, 8, "0 1"))
    assert list(LengthBuckets(rows, 8, "0 1")) != list(LengthBuckets(rows, 8, "0 2"))


def test_rows_of_a_batch_are_of_like_length():
    rows = [(index * 37) % 128 for index in range(128)]
    spreads = [max(rows[i] for i in batch) - min(rows[i] for i in batch) for batch in LengthBuckets(rows, 8, "0 0")]
    assert max(spreads) == 7


def test_evaluation_takes_all_rows_shortest_first():
    assert in_length_order([5, 1, 3, 2], 3) == [[1, 3, 2], [0]]
