import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from server.errors import InferenceFailed
from server.manifest import FixedAxis, OutputSpec, RowAxis
from server.rpc.attendant.scores import best_labels, probabilities, score_output
from server.tensors import Datatype
from tests.support.fakes import image_model, text_model

AXES = (RowAxis(), FixedAxis(size=3))
LOGITS = OutputSpec(name="logits", datatype=Datatype.FP32, axes=AXES, role="logits")
FINITE = st.floats(-(2.0**100), 2.0**100, width=32)


@given(hnp.arrays(np.float32, (1, 3), elements=FINITE))
def test_softmax_is_a_distribution_in_the_order_of_the_logits(logits):
    found = probabilities(LOGITS, logits)
    assert found.shape == (3,)
    assert np.isclose(found.sum(), 1)
    assert found.argmax() == logits[0].argmax() or np.isclose(found.max(), found[logits[0].argmax()])


def test_huge_logits_do_not_overflow():
    assert probabilities(LOGITS, np.array([[3e38, -3e38, 0]], dtype=np.float32)).tolist() == [1, 0, 0]


def test_softmax_of_known_logits():
    found = probabilities(LOGITS, np.log(np.array([[1, 2, 5]], dtype=np.float32)))
    np.testing.assert_allclose(found, [1 / 8, 2 / 8, 5 / 8], rtol=1e-6)


def test_bf16_logits_are_read_by_value():
    spec = LOGITS.model_copy(update={"datatype": Datatype.BF16})
    patterns = np.array([[0x3F80, 0xBF80, 0x0000]], dtype=np.uint16)  # 1, -1, 0
    np.testing.assert_allclose(
        probabilities(spec, patterns), probabilities(LOGITS, np.array([[1, -1, 0]], dtype=np.float32))
    )


def test_probabilities_are_left_alone():
    spec = LOGITS.model_copy(update={"role": "probabilities"})
    assert probabilities(spec, np.array([[0.5, 0.25, 0.25]], dtype=np.float32)).tolist() == [0.5, 0.25, 0.25]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_fail(value):
    with pytest.raises(InferenceFailed):
        probabilities(LOGITS, np.array([[0, value, 1]], dtype=np.float32))


def names_of(labels) -> list[str]:
    return [label.name for label in labels]


def test_labels_fall_by_score_and_ties_by_index():
    scores = np.array([0.2, 0.3, 0.2, 0.3])
    assert names_of(best_labels(scores, "abcd", top_k=0, threshold=0)) == ["b", "d", "a", "c"]


def test_top_k_and_threshold():
    scores = np.array([0.1, 0.6, 0.3])
    assert names_of(best_labels(scores, "abc", top_k=2, threshold=0)) == ["b", "c"]
    assert names_of(best_labels(scores, "abc", top_k=9, threshold=0.3)) == ["b", "c"]
    assert best_labels(scores, "abc", top_k=1, threshold=0.7) == []


def test_a_class_without_a_name_goes_by_its_index():
    assert names_of(best_labels(np.array([0.4, 0.6]), ["a"], top_k=0, threshold=0)) == ["1", "a"]


def test_the_output_with_scores_is_found_by_its_role():
    assert score_output(text_model().manifest).name == "logits"
    assert score_output(image_model().manifest).name == "probabilities"
