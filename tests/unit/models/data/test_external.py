import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.data.digits import encode_png
from models.data.errors import DataError
from models.data.external import labelled_images, labelled_texts

ROWS = [{"text": f"{word} number {n}", "label": word} for n in range(10) for word in ("cold", "warm")]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def write_rows(path: Path, rows: list[dict[str, object]]) -> str:
    if path.suffix == ".csv":
        columns = list(rows[0])
        lines = [",".join(columns), *(",".join(str(row[name]) for name in columns) for row in rows)]
        path.write_text("\n".join(lines) + "\n")
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    return str(path)


@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl", "rows.parquet"])
def test_texts_are_read_from_every_kind_of_file(tmp_path, name):
    labelled = labelled_texts(write_rows(tmp_path / name, ROWS), seed=0)
    assert labelled.names == ("cold", "warm")
    assert sorted(zip(labelled.contents, labelled.labels, strict=True)) == sorted(
        (row["text"], ("cold", "warm").index(row["label"])) for row in ROWS
    )
    assert labelled.split.train
    assert labelled.split.validation
    assert labelled.split.test


def test_images_are_read_from_a_folder_of_classes_as_their_files_are(tmp_path):
    files = {}
    for name, ink in (("dark", 2.0), ("light", 14.0)):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(8):
            content = encode_png(np.full((8, 8), ink + number / 8))
            (tmp_path / "images" / name / f"{number}.png").write_bytes(content)
            files[content] = name
    labelled = labelled_images(str(tmp_path / "images"), seed=0)
    read = {content: labelled.names[label] for content, label in zip(labelled.contents, labelled.labels, strict=True)}
    assert read == files


def test_missing_columns_are_named_with_those_found(tmp_path):
    rows = [{"sentence": "a", "class": "b"}] * 20
    with pytest.raises(DataError, match="columns sentence, class; expected text and label"):
        labelled_texts(write_rows(tmp_path / "rows.csv", rows), seed=0)


def test_an_empty_text_is_named_by_its_row(tmp_path):
    rows = [dict(row) for row in ROWS]
    rows[3]["text"] = ""
    with pytest.raises(DataError, match="row 4 of train has an empty text or label"):
        labelled_texts(write_rows(tmp_path / "rows.jsonl", rows), seed=0)


def test_too_few_classes_are_refused(tmp_path):
    with pytest.raises(DataError, match="of 1 classes"):
        labelled_texts(write_rows(tmp_path / "rows.jsonl", [row for row in ROWS if row["label"] == "cold"]), seed=0)


def test_a_missing_file_is_not_taken_for_a_hub_name(tmp_path):
    with pytest.raises(DataError, match=r"missing\.csv does not exist"):
        labelled_texts(str(tmp_path / "missing.csv"), seed=0)
    with pytest.raises(DataError, match=r"nowhere\.csv does not exist"):
        labelled_texts("nowhere.csv", seed=0)


def test_an_unknown_ending_is_refused_with_the_known_ones(tmp_path):
    (tmp_path / "rows.pickle").write_bytes(b"")
    with pytest.raises(DataError, match=r"\.pickle; expected \.csv"):
        labelled_texts(str(tmp_path / "rows.pickle"), seed=0)


def test_a_broken_file_is_a_data_error(tmp_path):
    (tmp_path / "rows.parquet").write_bytes(b"not parquet")
    with pytest.raises(DataError, match="cannot be read"):
        labelled_texts(str(tmp_path / "rows.parquet"), seed=0)


def test_a_hub_name_that_cannot_be_reached_is_a_data_error(monkeypatch):
    import datasets

    def offline(name):
        raise ConnectionError(f"Couldn't reach '{name}' on the Hub")

    monkeypatch.setattr(datasets, "load_dataset", offline)
    with pytest.raises(DataError, match=r"somebody/reviews cannot be read .*: Couldn't reach"):
        labelled_texts("somebody/reviews", seed=0)
