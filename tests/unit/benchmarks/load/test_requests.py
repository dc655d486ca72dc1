import numpy as np
import pytest

from benchmarks.load.requests import request_list


def test_same_seed_gives_the_same_requests():
    assert request_list("mixed", 64, 1000, seed=7).digest() == request_list("mixed", 64, 1000, seed=7).digest()


def test_another_seed_gives_others():
    assert request_list("mixed", 64, 1000, seed=7).digest() != request_list("mixed", 64, 1000, seed=8).digest()


def test_ids_are_of_the_vocabulary_and_never_padding():
    ids = np.concatenate(request_list("mixed", 64, 50, seed=0).rows)

    assert set(ids.tolist()) == set(range(1, 50))


def test_lengths_are_those_of_the_rows():
    requests = request_list("mixed", 16, 50, seed=0)

    assert requests.lengths.tolist() == [len(row) for row in requests.rows]


def test_digest_tells_where_a_request_ends():
    requests = request_list("sixteen", 2, 50, seed=0)
    joined = type(requests)((np.concatenate(requests.rows),))

    assert requests.digest() != joined.digest()


@pytest.mark.parametrize(("count", "vocabulary"), [(0, 100), (10, 1)])
def test_list_that_cannot_be_made_is_refused(count, vocabulary):
    with pytest.raises(ValueError, match="cannot be made"):
        request_list("mixed", count, vocabulary, seed=0)
