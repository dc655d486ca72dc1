import os

import pytest

from server.store.aliases import move_alias
from server.store.scan import Store, StoreSnapshot, StoreUnavailable
from tests.support.artifacts import write_folder


@pytest.fixture
def store(tmp_path):
    (tmp_path / "store").mkdir()
    return tmp_path / "store"


def scan(store):
    return Store(store).scan()


def test_empty_store_has_no_models(store):
    assert scan(store) == StoreSnapshot(models={}, problems={})


def test_models_and_versions_are_found_in_order(store):
    write_folder(store, {"areas/10/model.onnx": b"", "areas/9/model.onnx": b"", "digits/1/model.onnx": b""})
    assert {name: list(folder.versions) for name, folder in scan(store).models.items()} == {
        "areas": [9, 10],
        "digits": [1],
    }


def test_aliases_are_read(store):
    write_folder(store, {"areas/1/x": b"", "areas/2/x": b""})
    move_alias(store / "areas", "stable", 1)
    assert scan(store).models["areas"].aliases == {"stable": 1}


@pytest.mark.parametrize("name", [".1", ".tmp-3", "docs", "1a", "model.onnx"])
def test_hidden_and_wordy_folders_beside_the_versions_are_ignored(store, name):
    write_folder(store, {"areas/1/x": b"", f"areas/{name}/x": b""})
    folder = scan(store).models["areas"]
    assert list(folder.versions) == [1]
    assert folder.problems == {}


@pytest.mark.parametrize("name", ["0", "01", "+1", "-1", "9" * 19])
def test_number_that_is_no_plain_version_is_a_problem(store, name):
    write_folder(store, {f"areas/{name}/x": b""})
    folder = scan(store).models["areas"]
    assert not folder.versions
    assert "positive integer" in folder.problems[name]


def test_file_named_like_a_version_is_no_version(store):
    write_folder(store, {"areas/1": b""})
    assert not scan(store).models["areas"].versions


def test_hidden_folders_and_files_in_the_store_are_ignored(store):
    write_folder(store, {".incoming/1/x": b"", "README.md": b""})
    assert scan(store) == StoreSnapshot(models={}, problems={})


@pytest.mark.parametrize("name", ["a b", "-x", "a.", "é", "x" * 129])
def test_bad_model_name_is_a_problem_and_not_followed(store, name):
    write_folder(store, {f"{name}/1/x": b""})
    snapshot = scan(store)
    assert snapshot.models == {}
    assert [reason.startswith("not a model name") for reason in snapshot.problems.values()] == [True]


def test_name_that_is_not_utf8_is_a_problem_that_can_be_printed(store):
    (store / os.fsdecode(b"bad\xff")).mkdir()
    (problem,) = scan(store).problems
    assert problem.encode("utf-8") == rb"bad\udcff"


# --- links ----------------------------------------------------------------------------------------------------------


def test_model_that_links_out_of_the_store_is_a_problem(store, tmp_path):
    write_folder(tmp_path, {"outside/1/model.onnx": b""})
    (store / "areas").symlink_to(tmp_path / "outside")
    snapshot = scan(store)
    assert snapshot.models == {}
    assert "out of the store" in snapshot.problems["areas"]


def test_version_that_links_out_of_the_store_is_a_problem_of_that_version(store, tmp_path):
    write_folder(tmp_path, {"outside/model.onnx": b"", "store/areas/1/model.onnx": b""})
    (store / "areas" / "2").symlink_to(tmp_path / "outside")
    folder = scan(store).models["areas"]
    assert list(folder.versions) == [1]
    assert "out of the store" in folder.problems[2]


def test_broken_and_circular_links_are_problems(store):
    write_folder(store, {"areas/1/x": b""})
    (store / "areas" / "2").symlink_to("nowhere")
    (store / "areas" / "3").symlink_to("3")
    (store / "circle").symlink_to("circle")
    snapshot = scan(store)
    assert list(snapshot.models["areas"].versions) == [1]
    assert set(snapshot.models["areas"].problems) == {2, 3}
    assert set(snapshot.problems) == {"circle"}


def test_links_within_the_store_are_followed_as_kubernetes_makes_them(store):
    write_folder(store, {"areas/..2026/1/model.onnx": b"one"})
    (store / "areas" / "..data").symlink_to("..2026")
    (store / "areas" / "1").symlink_to("..data/1")
    before = scan(store)
    assert list(before.models["areas"].versions) == [1]
    write_folder(store, {"areas/..2027/1/model.onnx": b"other"})
    (store / "areas" / "..next").symlink_to("..2027")
    (store / "areas" / "..next").rename(store / "areas" / "..data")
    assert scan(store).models["areas"].versions[1] != before.models["areas"].versions[1]


def test_store_that_is_itself_a_link_is_followed(store, tmp_path):
    write_folder(store, {"areas/1/x": b""})
    (tmp_path / "link").symlink_to(store)
    assert list(scan(tmp_path / "link").models) == ["areas"]


def test_aliases_that_link_out_of_the_store_are_a_problem(store, tmp_path):
    write_folder(
        tmp_path, {"a.json": '{"schema_version":1,"aliases":{"stable":{"version":1}}}', "store/areas/1/x": b""}
    )
    (store / "areas" / "aliases.json").symlink_to(tmp_path / "a.json")
    folder = scan(store).models["areas"]
    assert folder.aliases == {}
    assert "out of the store" in folder.problems["aliases.json"]


# --- problems of a model leave the rest alone -----------------------------------------------------------------------


def test_malformed_aliases_are_a_problem_and_the_versions_stay(store):
    write_folder(store, {"areas/1/x": b"", "areas/aliases.json": b"{"})
    folder = scan(store).models["areas"]
    assert list(folder.versions) == [1]
    assert folder.aliases == {}
    assert folder.problems == {"aliases.json": "aliases.json is not JSON"}


def test_alias_of_a_missing_version_is_a_problem(store):
    write_folder(store, {"areas/1/x": b"", "areas/2/x": b""})
    move_alias(store / "areas", "stable", 2)
    (store / "areas/2/x").unlink()
    (store / "areas/2").rmdir()
    folder = scan(store).models["areas"]
    assert folder.aliases == {"stable": 2}
    assert "version 2, which does not exist" in folder.problems["alias stable"]


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("", None),
        ("version_policy { all {} }", "all"),
        ("version_policy { latest { num_versions: 3 } }", "latest:3"),
        ("version_policy { latest {} }", "latest:1"),
        ("version_policy { specific { versions: [1, 4] } }", "specific:1,4"),
    ],
)
def test_version_policy_of_a_triton_configuration_is_told(store, text, policy):
    write_folder(store, {"areas/1/model.onnx": b"", "areas/config.pbtxt": text})
    assert scan(store).models["areas"].version_policy == policy


@pytest.mark.parametrize(
    "text", ["version_policy {", "version_policy { specific {} }", "version_policy { nothing {} }"]
)
def test_malformed_triton_configuration_is_a_problem(store, text):
    write_folder(store, {"areas/1/model.onnx": b"", "areas/config.pbtxt": text})
    folder = scan(store).models["areas"]
    assert list(folder.versions) == [1]
    assert set(folder.problems) == {"config.pbtxt"}


# --- stamps ---------------------------------------------------------------------------------------------------------


def test_two_looks_at_an_unchanged_store_are_equal(store):
    write_folder(store, {"areas/1/model.onnx": b"a", "areas/1/onnx/model.onnx": b"b"})
    assert scan(store) == scan(store)


@pytest.mark.parametrize("name", ["model.onnx", "onnx/model.onnx", "new.bin"])
def test_file_that_grows_or_appears_changes_the_stamp_of_its_version_only(store, name):
    write_folder(store, {"areas/1/model.onnx": b"a", "areas/1/onnx/model.onnx": b"b", "areas/2/model.onnx": b"a"})
    before = scan(store).models["areas"].versions
    write_folder(store / "areas/1", {name: b"longer"})
    after = scan(store).models["areas"].versions
    assert before[1] != after[1]
    assert before[2] == after[2]


def test_file_replaced_by_one_of_the_same_size_and_time_changes_the_stamp(store):
    write_folder(store, {"areas/1/model.onnx": b"a"})
    path = store / "areas/1/model.onnx"
    before, facts = scan(store), path.stat()
    write_folder(store, {"next": b"b"})
    os.utime(store / "next", ns=(facts.st_atime_ns, facts.st_mtime_ns))
    (store / "next").rename(path)
    assert scan(store).models["areas"].versions != before.models["areas"].versions


def test_stamp_tells_whether_there_is_a_manifest(store):
    write_folder(store, {"areas/1/manifest.json": b"", "areas/2/model.onnx": b""})
    assert [stamp.has_manifest for stamp in scan(store).models["areas"].versions.values()] == [True, False]


# --- a store that is not there --------------------------------------------------------------------------------------


def test_store_that_does_not_exist_is_unavailable(tmp_path):
    with pytest.raises(StoreUnavailable, match="none cannot be read"):
        scan(tmp_path / "none")


def test_file_in_place_of_the_store_is_unavailable(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreUnavailable):
        scan(tmp_path / "file")


def test_store_that_disappears_and_returns_is_found_again(store, tmp_path):
    write_folder(store, {"areas/1/x": b""})
    watched = Store(store)
    before = watched.scan()
    store.rename(tmp_path / "away")
    with pytest.raises(StoreUnavailable):
        watched.scan()
    (tmp_path / "away").rename(store)
    assert watched.scan() == before
