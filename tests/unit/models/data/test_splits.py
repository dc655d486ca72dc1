from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from models.data.splits import grouped_split, stratified_split

labelled_groups = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), min_size=1, max_size=120)


@given(labelled_groups, st.integers(0, 5))
def test_splits_are_disjoint_and_complete_and_no_group_is_in_two(pairs, seed):
    labels = [label for label, _ in pairs]
    groups = [(label, group) for label, group in pairs]
    split = grouped_split(labels, groups, seed)
    parts = (split.train, split.validation, split.test)
    assert sorted(index for part in parts for index in part) == list(range(len(pairs)))
    seen = [{groups[index] for index in part} for part in parts]
    assert not (seen[0] & seen[1])
    assert not (seen[0] & seen[2])
    assert not (seen[1] & seen[2])


def test_every_label_has_its_share_of_every_split():
    labels = [0] * 100 + [1] * 50
    split = stratified_split(labels, seed=0, validation=0.1, test=0.2)
    assert Counter(labels[index] for index in split.test) == {0: 20, 1: 10}
    assert Counter(labels[index] for index in split.validation) == {0: 10, 1: 5}


def test_a_seed_always_means_the_same_split_and_another_seed_another():
    labels = [0, 1] * 50
    assert stratified_split(labels, seed=1) == stratified_split(labels, seed=1)
    assert stratified_split(labels, seed=1) != stratified_split(labels, seed=2)


def test_a_group_larger_than_what_is_held_out_trains():
    split = grouped_split([0] * 10, ["large"] * 9 + ["small"], seed=0, validation=0.1, test=0.1)
    assert set(range(9)) <= set(split.train)
