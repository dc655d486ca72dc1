import numpy as np
import pytest

from server.rpc.open_inference.classification import top_classes

SCORES = np.array([[0.25, 0.5, 0.25], [3, -1, 2]], dtype=np.float32)


def test_each_row_gives_its_largest_scores_first():
    found = top_classes(SCORES, 2, (), batched=True)
    assert found.tolist() == [[b"0.500000:1", b"0.250000:0"], [b"3.000000:0", b"2.000000:2"]]


def test_labels_follow_the_index():
    found = top_classes(SCORES, 1, ("cat", "dog", "Grüße"), batched=True)
    assert found.tolist() == [[b"0.500000:1:dog"], [b"3.000000:0:cat"]]
    assert top_classes(SCORES[1:, ::-1], 3, ("a", "b", "Grüße"), batched=True)[0, 0].decode() == "3.000000:2:Grüße"


def test_labels_of_another_number_of_classes_are_left_out():
    assert top_classes(SCORES, 1, ("cat",), batched=True).tolist() == [[b"0.500000:1"], [b"3.000000:0"]]


def test_more_classes_than_there_are_give_all():
    assert top_classes(SCORES, 99, (), batched=True).shape == (2, 3)


def test_without_a_batch_dimension_the_whole_tensor_is_one_row():
    assert top_classes(SCORES, 2, (), batched=False).tolist() == [b"3.000000:3", b"2.000000:5"]


def test_further_axes_count_as_one():
    assert top_classes(SCORES.reshape(1, 2, 3), 1, (), batched=True).tolist() == [[b"3.000000:3"]]


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.float16, np.float64])
def test_any_number_can_be_ranked(dtype):
    assert top_classes(np.array([[1, 3, 2]], dtype=dtype), 1, (), batched=True).tolist() == [[b"3.000000:1"]]
