import numpy as np
import pytest
from attendant.attention import AttentionMap, Cells, Token, Tokens
from attendant.words import word_weights


def attention(tokens: list[Token], weights: list[float]) -> AttentionMap:
    """Two queries whose mean is `weights`."""
    mean = np.array(weights, np.float32)
    return AttentionMap("encoder", "mean", (), (), None, Tokens(tuple(tokens)), np.stack([mean * 2, mean * 0]))


def test_pieces_of_a_word_are_summed_and_special_tokens_left_out():
    tokens = [
        Token("[CLS]", 0, 0),
        Token("token", 0, 5),
        Token("##izes", 5, 9),
        Token("text", 10, 14),
        Token(".", 14, 15),
    ]
    words = word_weights(attention(tokens, [0.5, 0.125, 0.125, 0.1875, 0.0625]), "tokenizes text.")
    assert [(word.word, word.weight) for word in words] == [("tokenizes", 0.25), ("text", 0.1875), (".", 0.0625)]


def test_space_before_a_word_belongs_to_no_word():
    words = word_weights(attention([Token("Ġthe", 1, 5), Token("▁cat", 5, 9)], [0.25, 0.75]), "a the cat")
    assert [(word.word, word.weight) for word in words] == [("a", 0.0), ("the", 0.25), ("cat", 0.75)]


def test_token_over_two_words_is_shared_by_characters():
    words = word_weights(attention([Token("ab.", 0, 3)], [0.75]), "ab.")
    assert [(word.word, word.weight) for word in words] == [("ab", 0.5), (".", 0.25)]


def test_token_over_nothing_visible_weighs_on_no_word():
    (word,) = word_weights(attention([Token("Ġ", 0, 2), Token("x", 2, 3)], [0.5, 0.5]), "  x")
    assert (word.word, word.start, word.end, word.weight) == ("x", 2, 3, 0.5)


def test_words_that_were_cut_off_weigh_nothing():
    words = word_weights(attention([Token("kept", 0, 4)], [1.0]), "kept lost")
    assert [word.weight for word in words] == [1.0, 0.0]


def test_only_tokens_of_the_chosen_text_count():
    tokens = [Token("who", 0, 3, 0), Token("ada", 0, 3, 1)]
    assert [word.weight for word in word_weights(attention(tokens, [0.25, 0.5]), "ada", segment=1)] == [0.5]


def test_offsets_count_code_points():
    words = word_weights(attention([Token("🙂", 0, 1), Token("naïve", 2, 7)], [0.25, 0.5]), "🙂 naïve")
    assert [(word.word, word.weight) for word in words] == [("🙂", 0.25), ("naïve", 0.5)]


def test_text_without_words_has_no_weights():
    assert word_weights(attention([Token("[CLS]", 0, 0)], [1.0]), " ") == ()


def test_attention_over_an_image_has_no_words():
    cells = AttentionMap("spatial", "mean", (), (), None, Cells(1, 1), np.ones((1, 1), np.float32))
    with pytest.raises(ValueError, match="spatial"):
        word_weights(cells, "text")
