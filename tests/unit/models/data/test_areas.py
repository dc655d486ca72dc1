import re

import pytest

from models.data import areas
from models.data.areas import AREAS, LARGEST_AREA, SHORTEST_WORDS, collect_areas, labelled_areas, load_areas

SMALL = {"text processing": ("textwrap", "difflib", "json"), "networking": ("ipaddress", "socketserver", "http")}


@pytest.fixture
def small_areas(monkeypatch):
    monkeypatch.setattr(areas, "AREAS", SMALL)


def test_examples_are_distinct_long_enough_and_name_no_module(small_areas):
    examples = collect_areas()
    texts = [re.sub(r"\W+", "", example.text).lower() for example in examples]
    assert len(set(texts)) == len(texts) > 50
    assert all(len(example.text.split()) >= SHORTEST_WORDS for example in examples)
    words = {word.lower() for example in examples for word in re.findall(r"\w+", example.text)}
    assert not words & {"textwrap", "difflib", "ipaddress", "socketserver", "numpy", "np"}


def test_no_module_is_in_two_splits(small_areas, tmp_path):
    labelled = labelled_areas(tmp_path, seed=0)
    module_of = {example.text: example.module for example in load_areas(tmp_path)}
    parts = [
        {module_of[labelled.contents[index]] for index in indices}
        for indices in (labelled.split.train, labelled.split.validation, labelled.split.test)
    ]
    assert parts[0]
    assert parts[2]
    assert not (parts[0] & parts[1])
    assert not (parts[0] & parts[2])
    assert not (parts[1] & parts[2])


def test_the_cache_is_read_instead_of_the_sources(small_areas, tmp_path, monkeypatch):
    first = load_areas(tmp_path)
    monkeypatch.setattr(areas, "collect_areas", lambda: pytest.fail("collected again"))
    assert load_areas(tmp_path) == first


def test_an_area_without_a_single_docstring_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(areas, "AREAS", {"nothing": ("no_such_module_anywhere",)})
    with pytest.raises(areas.DataError, match="no docstrings found for nothing"):
        load_areas(tmp_path)


def test_no_area_has_more_examples_than_the_bound(small_areas, tmp_path, monkeypatch):
    monkeypatch.setattr(areas, "LARGEST_AREA", 20)
    labelled = labelled_areas(tmp_path, seed=0)
    assert [labelled.labels.count(label) for label in range(len(SMALL))] == [20, 20]


def test_areas_are_about_a_dozen_and_no_source_belongs_to_two():
    sources = [name for names in AREAS.values() for name in names]
    assert 10 <= len(AREAS) <= 14
    assert len(set(sources)) == len(sources)
    assert LARGEST_AREA > 500
