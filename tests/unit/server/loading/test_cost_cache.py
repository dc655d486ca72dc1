import dataclasses
import json
import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.batching.cost import Measurement, Work
from server.loading.cost_cache import SCHEMA_VERSION, CostCache, CostKey
from server.loading.threads import ThreadPlan

KEY = CostKey(
    graph_sha256="ab" * 32,
    layout="rows",
    lattices=((), ()),
    precision="fp32",
    provider="CPUExecutionProvider",
    threads=1,
    cores=2,
    runtime="1.31.1",
    processor="x86_64; model name Some",
)
FOUND = [Measurement(Work(1, 8, 64), 1.5e-3), Measurement(Work(2, 64, 2048), 3.25e-3)]
OTHERS = {
    "graph_sha256": "cd" * 32,
    "layout": "gathered",
    "lattices": ((32, 64), (8,)),
    "precision": "int8",
    "provider": "OpenVINOExecutionProvider",
    "threads": 2,
    "cores": 4,
    "runtime": "1.24.1",
    "processor": "aarch64",
}


def test_what_is_written_is_read_again(tmp_path):
    cache = CostCache(tmp_path / "made" / "on demand")
    assert cache.read(KEY) is None
    cache.write(KEY, FOUND)
    assert cache.read(KEY) == FOUND
    assert CostCache(tmp_path / "made" / "on demand").read(KEY) == FOUND


works = st.builds(Work, *[st.integers(1, 2**40)] * 3)


@settings(max_examples=25)
@given(st.lists(st.builds(Measurement, works, st.floats(1e-7, 1e6)), min_size=1, max_size=20))
def test_every_measurement_survives_unchanged(tmp_path_factory, found):
    cache = CostCache(tmp_path_factory.mktemp("cache"))
    cache.write(KEY, found)
    assert cache.read(KEY) == found


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(CostKey)])
def test_a_measurement_counts_only_for_what_it_was_made_of(tmp_path, field):
    cache = CostCache(tmp_path)
    cache.write(KEY, FOUND)
    other = dataclasses.replace(KEY, **{field: OTHERS[field]})
    assert other.file_name("cost") != KEY.file_name("cost")
    assert cache.read(other) is None


def test_a_later_measurement_replaces_the_former(tmp_path):
    cache = CostCache(tmp_path)
    cache.write(KEY, FOUND)
    cache.write(KEY, FOUND[:1])
    assert cache.read(KEY) == FOUND[:1]
    assert len(list(tmp_path.iterdir())) == 1


def kept(**changes):
    point = {"rows": 1, "tokens": 8, "pairs": 64, "seconds": 1e-3}
    return {"schema_version": SCHEMA_VERSION, "key": repr(KEY), "points": [point], **changes}


def point(**changes):
    return kept(points=[{"rows": 1, "tokens": 8, "pairs": 64, "seconds": 1e-3, **changes}])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe\x00",
        b"null",
        b"[1, 2]",
        json.dumps(kept(key="another")).encode(),
        json.dumps(kept(schema_version=SCHEMA_VERSION + 1)).encode(),
        json.dumps(kept(points=[])).encode(),
        json.dumps(kept(more=1)).encode(),
        json.dumps(point(seconds=0)).encode(),
        json.dumps(point(seconds=-1.0)).encode(),
        json.dumps(point(seconds=1e999)).encode(),
        json.dumps(point(seconds=float("nan"))).encode(),
        json.dumps(point(rows=0)).encode(),
        json.dumps(point(tokens="many")).encode(),
    ],
)
def test_a_foreign_or_spoilt_file_counts_as_none(tmp_path, content):
    (tmp_path / KEY.file_name("cost")).write_bytes(content)
    assert CostCache(tmp_path).read(KEY) is None


def test_a_file_as_it_should_be_counts(tmp_path):
    (tmp_path / KEY.file_name("cost")).write_text(json.dumps(kept()))
    assert CostCache(tmp_path).read(KEY) == [Measurement(Work(1, 8, 64), 1e-3)]


def test_a_folder_in_the_files_place_counts_as_none(tmp_path):
    (tmp_path / KEY.file_name("cost")).mkdir()
    assert CostCache(tmp_path).read(KEY) is None


def test_without_a_folder_nothing_is_kept():
    cache = CostCache(None)
    cache.write(KEY, FOUND)
    assert cache.read(KEY) is None


def test_what_cannot_be_written_is_said_in_the_log_and_leaves_no_draft(tmp_path, caplog):
    (tmp_path / KEY.file_name("cost")).mkdir()
    CostCache(tmp_path).write(KEY, FOUND)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert [path.name for path in tmp_path.iterdir()] == [KEY.file_name("cost")]


def test_a_folder_that_cannot_be_made_is_said_in_the_log(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    CostCache(tmp_path / "file" / "below").write(KEY, FOUND)
    assert "cannot be kept" in caplog.text


def test_a_thread_plan_is_read_again_unless_there_are_fewer_cores_than_it_takes(tmp_path):
    cache = CostCache(tmp_path)
    assert cache.read_plan(KEY) is None
    cache.write_plan(KEY, ThreadPlan(2, 1))
    cache.write(KEY, FOUND)
    assert cache.read_plan(KEY) == ThreadPlan(2, 1)
    cache.write_plan(KEY, ThreadPlan(3, 1))
    assert cache.read_plan(KEY) is None
