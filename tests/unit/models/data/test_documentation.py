import re

import pytest

from models.data import documentation as module
from models.data.documentation import SHORTEST, TOPICS, collect_documents, documentation, load_documents
from models.data.errors import DataError


@pytest.fixture(autouse=True)
def few_modules(monkeypatch):
    monkeypatch.setattr(module, "STANDARD_LIBRARY", "json textwrap argparse")
    monkeypatch.setattr(module, "LIBRARIES", {})


def test_documents_are_distinct_whole_and_long_enough():
    documents = collect_documents()
    texts = [re.sub(r"\W+", "", document.text).lower() for document in documents]
    assert len(set(texts)) == len(texts) > 50
    assert all(len(document.text) >= SHORTEST for document in documents)
    assert any("\n" in document.text for document in documents)


def test_docstrings_and_the_language_reference_are_documents():
    modules = {document.module.split(".")[0] for document in collect_documents()}
    assert modules == {"json", "textwrap", "argparse", "pydoc_data"}
    assert sum(document.module.startswith(TOPICS) for document in collect_documents()) > 50


def test_no_module_is_in_two_splits(tmp_path):
    texts = documentation(tmp_path, seed=0)
    module_of = {document.text: document.module for document in load_documents(tmp_path)}
    parts = [
        {module_of[text] for (text,) in texts.select(part)}
        for part in (texts.split.train, texts.split.validation, texts.split.test)
    ]
    assert all(parts)
    assert not parts[0] & parts[1]
    assert not parts[0] & parts[2]
    assert not parts[1] & parts[2]


def test_whole_modules_are_drawn_up_to_the_bound(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LARGEST", 100_000)
    drawn = [text for (text,) in documentation(tmp_path, seed=0).rows]
    others = [text for (text,) in documentation(tmp_path, seed=1).rows]
    assert 0 < sum(map(len, drawn)) <= 100_000
    assert drawn != others


def test_the_cache_is_read_instead_of_the_sources(tmp_path, monkeypatch):
    first = load_documents(tmp_path)
    monkeypatch.setattr(module, "collect_documents", lambda: pytest.fail("collected again"))
    assert load_documents(tmp_path) == first


def test_nothing_installed_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "collect_documents", list)
    with pytest.raises(DataError, match="no documentation found"):
        load_documents(tmp_path)
