import json
import multiprocessing
import stat
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from server.errors import ArtifactCorrupt, VersionNotFound
from server.store import aliases as module
from server.store.aliases import AliasTarget, move_alias, move_back, read_aliases, remove_alias


@pytest.fixture
def model(tmp_path):
    for version in (1, 2, 3):
        (tmp_path / "areas" / str(version)).mkdir(parents=True)
    return tmp_path / "areas"


def test_model_without_the_file_has_no_aliases(model):
    assert read_aliases(model) == {}


def test_new_alias_points_at_its_version_and_has_no_way_back(model):
    assert move_alias(model, "stable", 1) == AliasTarget(version=1)
    assert read_aliases(model) == {"stable": AliasTarget(version=1)}


def test_file_has_the_documented_form(model):
    move_alias(model, "stable", 1)
    move_alias(model, "stable", 2)
    document = json.loads((model / "aliases.json").read_text())
    assert document == {"schema_version": 1, "aliases": {"stable": {"version": 2, "previous": 1}}}


def test_moving_back_returns_to_where_it_pointed_and_forth_again(model):
    move_alias(model, "stable", 1)
    move_alias(model, "stable", 2)
    assert move_back(model, "stable") == AliasTarget(version=1, previous=2)
    assert move_back(model, "stable") == AliasTarget(version=2, previous=1)


def test_moving_to_where_it_is_keeps_the_way_back(model):
    move_alias(model, "stable", 1)
    move_alias(model, "stable", 2)
    assert move_alias(model, "stable", 2) == AliasTarget(version=2, previous=1)


def test_moving_one_alias_leaves_the_others(model):
    move_alias(model, "stable", 1)
    move_alias(model, "canary", 3)
    assert {name: target.version for name, target in read_aliases(model).items()} == {"stable": 1, "canary": 3}


@pytest.mark.parametrize("version", [4, 0, -1])
def test_version_that_does_not_exist_is_refused(model, version):
    with pytest.raises(VersionNotFound, match="has no version"):
        move_alias(model, "stable", version)
    assert not (model / "aliases.json").exists()


@pytest.mark.parametrize("alias", ["", "1", "../x", "a b", "x" * 65, "a\n"])
def test_name_that_is_no_alias_is_refused(model, alias):
    with pytest.raises(ValidationError):
        move_alias(model, alias, 1)


def test_alias_that_does_not_exist_cannot_move_back(model):
    with pytest.raises(VersionNotFound, match="no alias stable"):
        move_back(model, "stable")


def test_alias_that_never_moved_cannot_move_back(model):
    move_alias(model, "stable", 1)
    with pytest.raises(VersionNotFound, match="never moved"):
        move_back(model, "stable")


def test_alias_cannot_move_back_to_a_version_that_is_gone(model):
    move_alias(model, "stable", 1)
    move_alias(model, "stable", 2)
    (model / "1").rmdir()
    with pytest.raises(VersionNotFound, match="no longer has version 1"):
        move_back(model, "stable")
    assert read_aliases(model)["stable"].version == 2


def test_removed_alias_is_gone(model):
    move_alias(model, "stable", 1)
    remove_alias(model, "stable")
    assert read_aliases(model) == {}
    with pytest.raises(VersionNotFound):
        remove_alias(model, "stable")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[]", "schema version None"),
        (b"{}", "schema version None"),
        (b'{"schema_version": 2, "aliases": {}}', "schema version 2"),
        (b'{"schema_version": 1}', "aliases"),
        (b'{"schema_version": 1, "aliases": []}', "aliases"),
        (b'{"schema_version": 1, "aliases": {"stable": 1}}', "stable"),
        (b'{"schema_version": 1, "aliases": {"stable": {"version": 0}}}', "version"),
        (b'{"schema_version": 1, "aliases": {"stable": {"version": "1"}}}', "version"),
        (b'{"schema_version": 1, "aliases": {"stable": {"version": 1, "other": 2}}}', "other"),
        (b'{"schema_version": 1, "aliases": {"../up": {"version": 1}}}', "up"),
    ],
)
def test_malformed_file_is_refused_with_the_reason(model, content, reason):
    (model / "aliases.json").write_bytes(content)
    with pytest.raises(ArtifactCorrupt, match=reason):
        read_aliases(model)


def test_malformed_file_is_never_overwritten(model):
    (model / "aliases.json").write_bytes(b"half a fi")
    with pytest.raises(ArtifactCorrupt):
        move_alias(model, "stable", 1)
    assert (model / "aliases.json").read_bytes() == b"half a fi"


def test_huge_file_is_refused_unread(model, monkeypatch):
    monkeypatch.setattr(module, "MAX_ALIASES_BYTES", 100)
    (model / "aliases.json").write_bytes(b" " * 101)
    with pytest.raises(ArtifactCorrupt, match="larger than 100 bytes"):
        read_aliases(model)


def test_folder_in_place_of_the_file_is_refused(model):
    (model / "aliases.json").mkdir()
    with pytest.raises(ArtifactCorrupt, match="cannot be read"):
        read_aliases(model)


@given(st.binary(max_size=200))
def test_random_bytes_are_refused_or_read_never_worse(tmp_path_factory, content):
    folder = tmp_path_factory.getbasetemp()
    (folder / "aliases.json").write_bytes(content)
    try:
        read_aliases(folder)
    except ArtifactCorrupt:
        return


def test_crash_while_writing_leaves_the_old_file_and_no_litter(model, monkeypatch):
    move_alias(model, "stable", 1)

    def crash(descriptor):
        raise OSError("disk full")

    monkeypatch.setattr(module.os, "fsync", crash)
    with pytest.raises(OSError, match="disk full"):
        move_alias(model, "stable", 2)
    assert read_aliases(model)["stable"].version == 1
    assert sorted(path.name for path in model.iterdir() if path.is_file()) == [".aliases.lock", "aliases.json"]


def test_file_can_be_read_by_a_server_of_another_user(model):
    move_alias(model, "stable", 1)
    assert stat.S_IMODE((model / "aliases.json").stat().st_mode) == 0o644


def test_threads_that_write_at_once_lose_no_update(model):
    threads = [threading.Thread(target=move_alias, args=(model, f"alias{number}", 1)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(read_aliases(model)) == {f"alias{number}" for number in range(16)}


def _move_many(model, prefix):
    for number in range(10):
        move_alias(model, f"{prefix}{number}", 1)


def test_processes_that_write_at_once_lose_no_update(model):
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_move_many, args=(model, prefix)) for prefix in "ab"]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert set(read_aliases(model)) == {f"{prefix}{number}" for prefix in "ab" for number in range(10)}


def test_reader_beside_a_writer_sees_old_or_new_never_half(model):
    move_alias(model, "stable", 1)
    stop = threading.Event()
    seen, failures = set(), []

    def read():
        while not stop.is_set():
            try:
                seen.add(read_aliases(model)["stable"].version)
            except Exception as error:
                failures.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(50):
        move_alias(model, "stable", 1 + number % 2)
    stop.set()
    reader.join()
    assert failures == []
    assert seen <= {1, 2}
