import numpy as np

from models.data.word_vectors import word_vectors


def cosine(a, b):
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def test_words_that_keep_the_same_company_are_alike():
    rng = np.random.default_rng(0)
    # 1 and 2 stand between 3s and 4s, 5 between 6s and 7s.
    rows = [np.array([rng.choice([3, 4]), rng.choice([1, 2]), rng.choice([3, 4])]) for _ in range(200)]
    rows += [np.array([rng.choice([6, 7]), 5, rng.choice([6, 7])]) for _ in range(200)]
    vectors = word_vectors(rows, vocabulary=8, width=4, seed=0)
    assert cosine(vectors[1], vectors[2]) > 0.9
    assert cosine(vectors[1], vectors[5]) < 0.3


def test_vectors_have_unit_spread_and_zeros_for_words_never_seen():
    rows = [np.array([1, 2, 3, 1]), np.array([3, 2])]
    vectors = word_vectors(rows, vocabulary=6, width=3, seed=0)
    assert vectors.shape == (6, 3)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors.std(), 1.0, rtol=1e-5)
    np.testing.assert_allclose(vectors[5], 0.0, atol=1e-5)


def test_a_width_beyond_the_vocabulary_is_filled_with_zeros():
    vectors = word_vectors([np.array([0, 1, 2, 0])], vocabulary=3, width=8, seed=0)
    assert vectors.shape == (3, 8)
    assert not vectors[:, 2:].any()


def test_rows_of_single_words_give_zeros():
    assert not word_vectors([np.array([1])], vocabulary=4, width=2, seed=0).any()
