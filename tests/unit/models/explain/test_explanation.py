from dataclasses import replace

import numpy as np
import pytest

from models.explain.explanation import Missing, Parity, Scores, key_weights, position_name, size, spaced
from server.codecs import Token
from server.manifest import CellAxis
from tests.unit.models.explain.made_up import across, explanation, over_text


def test_labels_are_ordered_by_probability_and_equal_ones_by_index():
    assert Scores(("a", "b", "c"), np.array([0.2, 0.6, 0.2])).best() == [1, 0, 2]


def test_strongest_head_is_the_one_whose_absence_changes_most():
    strongest = over_text(["a", "b"]).strongest()
    assert (strongest.layer, strongest.head, strongest.change) == (0, 2, -0.1)
    assert across().strongest() is None


def test_sharpest_head_has_the_largest_weight_a_query_on_average():
    mechanism = over_text(["a", "b"])
    mechanism.layers[1].weights[2] = np.eye(3)
    assert mechanism.sharpest() == (1, 2, 1.0)


def test_same_reason_is_said_once_with_everything_that_it_explains():
    reason = Missing("there is no checkpoint")
    lacking = replace(over_text(["a"]), gradient=reason, ablation=reason)
    assert list(explanation(lacking, parity=reason).missing()) == [
        "no comparison with PyTorch, gradients, head ablation: there is no checkpoint"
    ]


def test_with_several_attentions_each_is_named():
    missing = list(explanation(over_text(["a"]), across()).missing())
    assert missing == [
        "no rollout of cross/1: queries and keys differ",
        "no head ablation of cross/1: nothing to switch off",
    ]


@pytest.mark.parametrize(("largest", "said"), [(1e-6, "agree:"), (1e-2, "do NOT agree:"), (float("inf"), "do NOT")])
def test_parity_is_told_either_way(largest, said):
    assert said in Parity(largest, 1e-4).sentence


def test_without_scores_there_is_neither_label_nor_probability():
    bare = explanation(scores=Missing("no labels"), label=None)
    assert (bare.label_name, bare.probability) == (None, None)


def test_places_have_names_and_a_count():
    cells = CellAxis(rows=2, columns=3)
    assert (size(cells), position_name(cells, 4)) == (6, "row 1, column 1")
    assert position_name((Token("word", 0, 4),), 0) == "word"


def test_keys_count_by_the_mean_over_queries():
    assert key_weights(np.array([[1.0, 0.0], [0.5, 0.5]], np.float32)).tolist() == [0.75, 0.25]


def test_pieces_of_a_word_stand_together_and_special_tokens_apart():
    tokens = [Token("[CLS]", 0, 0), Token("un", 0, 2), Token("done", 2, 6), Token("now", 7, 10), Token("[SEP]", 0, 0)]
    assert spaced(tokens) == [False, True, False, True, True]
    assert spaced([]) == []
