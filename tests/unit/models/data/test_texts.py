import json
from dataclasses import replace

import pytest

from models.data.errors import DataError
from models.data.splits import Split
from models.data.texts import Texts, read_texts

PAIRS = [{"source": f"{number} eggs", "target": f"eggs: {number}"} for number in range(40)]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def written(tmp_path, rows) -> str:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_pairs_are_read_and_split(tmp_path):
    texts = read_texts(written(tmp_path, PAIRS), ("source", "target"), seed=0)
    assert sorted(texts.rows) == sorted((row["source"], row["target"]) for row in PAIRS)
    assert sum(texts.split.sizes().values()) == len(PAIRS)
    assert all(texts.split.sizes().values())


def test_a_csv_file_of_texts_is_read(tmp_path):
    (tmp_path / "rows.csv").write_text("text\n" + "".join(f"line {number}\n" for number in range(20)))
    assert len(read_texts(str(tmp_path / "rows.csv"), ("text",), seed=0).rows) == 20


def test_rows_of_one_source_are_in_one_split(tmp_path):
    rows = [{"source": f"{number} eggs", "target": f"{word} {number}"} for number in range(20) for word in ("a", "b")]
    texts = read_texts(written(tmp_path, rows), ("source", "target"), seed=0)
    parts = [{row[0] for row in texts.select(part)} for part in (texts.split.train, texts.split.test)]
    assert not parts[0] & parts[1]


def test_missing_columns_are_named_with_those_found(tmp_path):
    with pytest.raises(DataError, match="columns source, target; expected text"):
        read_texts(written(tmp_path, PAIRS), ("text",), seed=0)


def test_an_empty_text_is_named_by_its_row(tmp_path):
    rows = [*PAIRS[:4], {"source": "x", "target": ""}, *PAIRS[4:]]
    with pytest.raises(DataError, match="row 5 of train has an empty target"):
        read_texts(written(tmp_path, rows), ("source", "target"), seed=0)


def test_too_few_different_examples_are_refused(tmp_path):
    with pytest.raises(DataError, match="3 different examples; at least 10"):
        read_texts(written(tmp_path, PAIRS[:3] * 10), ("source", "target"), seed=0)


def test_the_fingerprint_covers_texts_and_split():
    texts = Texts("made up", ("text",), (("a",), ("b",), ("c",)), Split((0,), (1,), (2,)))
    others = [
        replace(texts, rows=(("a",), ("b",), ("d",))),
        replace(texts, split=Split((1,), (0,), (2,))),
        replace(texts, columns=("words",)),
    ]
    prints = {one.provenance().fingerprint for one in (texts, *others)}
    assert len(prints) == 4
    assert texts.provenance().examples == {"train": 1, "validation": 1, "test": 1}
