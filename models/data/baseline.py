"""The methods to beat: linear classifiers, on word counts that know no order, or on bare pixels."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

BAG_OF_WORDS = "bag of words, logistic regression"
# Inverse strengths of regularisation, from which the validation split chooses.
STRENGTHS = (0.03, 0.1, 0.3, 1.0, 3.0)
ITERATIONS = 300


def fit_bag_of_words(
    train: tuple[Sequence[str], Sequence[int]], validation: tuple[Sequence[str], Sequence[int]]
) -> Any:
    """A logistic regression on word counts, of the strength that is best on validation; texts in, labels out."""
    return _best(lambda regression: make_pipeline(CountVectorizer(), regression), train, validation)


def fit_linear(
    train: tuple[Sequence[Sequence[float]], Sequence[int]], validation: tuple[Sequence[Sequence[float]], Sequence[int]]
) -> Any:
    """A logistic regression on numbers, of the strength that is best on validation."""
    return _best(lambda regression: regression, train, validation)


def _best(build: Callable[[LogisticRegression], Any], train: tuple[Any, Any], validation: tuple[Any, Any]) -> Any:
    candidates = [build(LogisticRegression(C=strength, max_iter=ITERATIONS)) for strength in STRENGTHS]
    # The matrices are too small for threads: waiting for one another costs them more than the work.
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore", ConvergenceWarning)
        for candidate in candidates:
            candidate.fit(*train)
        return max(candidates, key=lambda candidate: float(candidate.score(*validation)))
