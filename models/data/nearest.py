"""The method to beat in translation: the target of the training example whose source looks most alike."""

from collections.abc import Sequence

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.neighbors import NearestNeighbors

NEAREST = "target of the nearest training source, by groups of three characters"
LONGEST_GROUP = 3


def nearest_targets(sources: Sequence[str], targets: Sequence[str], questions: Sequence[str]) -> list[str]:
    """For each question the target of the source with the least angle to it, by weighted counts of character groups."""
    vectorizer = TfidfVectorizer(analyzer="char", ngram_range=(1, LONGEST_GROUP))
    neighbours = NearestNeighbors(n_neighbors=1, metric="cosine", algorithm="brute")
    neighbours.fit(vectorizer.fit_transform(sources))
    found = neighbours.kneighbors(vectorizer.transform(questions), return_distance=False)
    return [targets[index] for index in found[:, 0]]
