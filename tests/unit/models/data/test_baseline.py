from models.data.baseline import fit_bag_of_words, fit_linear


def test_a_bag_of_words_learns_which_words_mean_which_class():
    texts = ["open the file", "close the file", "solve the matrix", "invert the matrix"] * 5
    labels = [0, 0, 1, 1] * 5
    model = fit_bag_of_words((texts, labels), (texts, labels))
    assert model.predict(["a file", "a matrix"]).tolist() == [0, 1]


def test_the_strength_is_chosen_on_validation():
    # What separates the training split tells nothing on validation, where only the strongest restraint is right.
    train = ([[0.0], [1.0], [1.0], [1.0]] * 5, [0, 1, 1, 1] * 5)
    model = fit_linear(train, ([[0.0]] * 4, [1] * 4))
    assert model.C == 0.03
