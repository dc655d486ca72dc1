from datetime import UTC, datetime, timedelta

import pytest
import torch

from models.export.provenance import provenance, public_source


def test_what_the_training_recorded_stands_and_the_export_adds_its_libraries(trained):
    record = trained.record.model_copy(update={"versions": {"torch": "0.1"}, "git_revision": "abc"})
    stated = provenance(record)
    assert (stated.data, stated.seed, stated.config) == (record.data, record.seed, record.config)
    assert stated.git_revision == "abc"
    assert stated.versions["torch"] == "0.1"
    assert {"python", "onnx", "numpy"} <= stated.versions.keys()


def test_library_that_the_training_did_not_record_is_the_one_of_the_export(trained):
    assert provenance(trained.record.model_copy(update={"versions": {}})).versions["torch"] == torch.__version__


def test_time_is_now_in_utc(trained):
    stated = provenance(trained.record).created_at
    assert stated.endswith("Z")
    assert abs(datetime.now(UTC) - datetime.fromisoformat(stated)) < timedelta(minutes=1)


@pytest.mark.parametrize("path", ["/home/a/letters.csv", "./letters.csv", "../data/letters.csv", "~/letters.csv"])
def test_path_of_the_data_is_reduced_to_its_last_part(trained, path):
    data = trained.record.data.model_copy(update={"source": path})
    assert provenance(trained.record.model_copy(update={"data": data})).data.source == "letters.csv"


@pytest.mark.parametrize("source", ["owner/name", "docstrings of the standard library", "letters.csv"])
def test_names_of_data_stay_as_they_are(source):
    assert public_source(source) == source
