import pytest

from models.data.prose import MASK, NameMask, describe

NAMES = NameMask(stems=("torch", "numpy", "scikit"), names={"np", "linalg", "tarfile", "email"}, ordinary={"email"})


def test_titles_rules_directives_and_examples_are_left_out():
    docstring = """svd(a, full=True)

    Decomposes a matrix.

    Parameters
    ----------
    a : array_like
        The matrix.

    .. versionadded:: 1.8.0

    Examples
    --------
    >>> import numpy as np
    >>> np.linalg.svd(a)
    """
    assert describe(docstring) == "Decomposes a matrix. a : array_like The matrix."


def test_roles_leave_their_text_and_fields_their_description():
    text = "See :class:`~email.message.Message` now.\n:param size: how many\n:return: the `rest`"
    assert describe(text) == "See email.message.Message now. how many the rest"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("a numpy array", f"a {MASK} array"),
        ("a NumPy array", f"a {MASK} array"),
        ("calls __torch_function__ first", f"calls {MASK} first"),
        ("PyTorch and scikit-learn", f"{MASK} and {MASK}"),
        ("use np.linalg.norm here", "use norm here"),
        ("opens a tarfile", f"opens a {MASK}"),
        ("an email arrives", "an email arrives"),
        ("the email package reads", f"the {MASK} package reads"),
        ("email.message.Message holds", "message.Message holds"),
        ("first import numpy as np then", f"first {MASK} then"),
        ("goods that we import daily", "goods that we import daily"),
        ("an e.g. plain sentence", "an e.g. plain sentence"),
    ],
)
def test_names_are_masked_and_words_are_not(text, masked):
    assert NAMES.apply(text) == masked
