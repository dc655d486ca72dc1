import errno
import os
import stat
from pathlib import Path

import pytest

from models.export import publish as publishing
from models.export.bundle import read_candidate, write_manifest
from models.export.digest import digests
from models.export.failure import CandidateUnusable, PublishRefused, StoreUnwritable
from models.export.publish import publish
from server.manifest import MANIFEST_FILE, parse_manifest


@pytest.fixture
def model():
    return "digits"


@pytest.fixture
def store(tmp_path):
    return tmp_path / "store"


def content(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones included."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_version_holds_the_manifest_and_every_file_that_it_lists(candidate, store):
    publication = publish(candidate, store)
    assert publication.directory == store / "digits" / "1"
    manifest = parse_manifest((publication.directory / MANIFEST_FILE).read_bytes())
    assert {path.name for path in publication.directory.iterdir()} == {MANIFEST_FILE, *manifest.files}
    assert manifest.files == digests(publication.directory, manifest.files)
    assert publication.bytes == sum(path.stat().st_size for path in publication.directory.iterdir())


def test_files_that_verification_did_not_see_stay_out(candidate, store):
    (candidate / "notes.txt").write_text("private")
    (candidate / ".hidden").write_text("private")
    assert not {"notes.txt", ".hidden"} & {path.name for path in publish(candidate, store).directory.iterdir()}


def test_numbers_count_up_and_older_versions_stay_as_they_are(candidate, store):
    publish(candidate, store)
    before = content(store / "digits" / "1")
    assert publish(candidate, store).version == 2
    assert content(store / "digits" / "1") == before


def test_next_number_is_after_the_highest_even_with_gaps_and_strangers(candidate, store):
    for name in ("3", "007", "stable", ".publishing-left", "-9", "²"):
        (store / "digits" / name).mkdir(parents=True)
    assert publish(candidate, store).version == 8


def test_anyone_may_read_what_is_published_whatever_the_umask(candidate, store):
    umask = os.umask(0o077)
    try:
        directory = publish(candidate, store).directory
    finally:
        os.umask(umask)
    for folder in (store, store / "digits", directory):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o755
    assert {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()} == {0o644}


def test_nothing_but_the_version_is_left_in_the_store(candidate, store):
    publish(candidate, store)
    assert [path.name for path in (store / "digits").iterdir()] == ["1"]


def test_candidate_that_changed_after_verification_is_refused_and_leaves_nothing(candidate, store):
    with (candidate / "model.onnx").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(CandidateUnusable, match=r"model\.onnx .* changed after it was verified"):
        publish(candidate, store)
    assert content(store) == {}
    assert list((store / "digits").iterdir()) == []


def test_candidate_that_lost_a_file_is_refused(candidate, store):
    (candidate / "labels.json").unlink()
    with pytest.raises(CandidateUnusable, match=r"lacks labels\.json"):
        publish(candidate, store)
    assert list((store / "digits").iterdir()) == []


def test_refused_bundle_does_not_touch_the_store(candidate, store):
    manifest = read_candidate(candidate)
    write_manifest(candidate, manifest.model_copy(update={"parity": None}))
    with pytest.raises(PublishRefused):
        publish(candidate, store)
    assert not store.exists()


def test_faster_publisher_keeps_its_number_and_the_slower_takes_the_next(candidate, store, monkeypatch):
    rename = Path.rename

    def overtaken(self, target):
        """Another publisher finishes version 1 just before this one's rename."""
        if target.name == "1":
            target.mkdir()
            (target / MANIFEST_FILE).write_text("theirs")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", overtaken)
    assert publish(candidate, store).version == 2
    assert content(store / "digits" / "1") == {MANIFEST_FILE: b"theirs"}


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk_leaves_nothing_behind_and_says_so(candidate, store, monkeypatch, code):
    publish(candidate, store)
    before = content(store)
    copy, copied = publishing._copy, []

    def full(source, target):
        if len(copied) == 2:
            target.write_bytes(b"half")
            raise OSError(code, os.strerror(code))
        copied.append(target)
        return copy(source, target)

    monkeypatch.setattr(publishing, "_copy", full)
    with pytest.raises(StoreUnwritable, match=r"no room in the store .* nothing was published"):
        publish(candidate, store)
    assert copied
    assert content(store) == before
    assert [path.name for path in (store / "digits").iterdir()] == ["1"]


def test_store_that_is_a_file_is_named(candidate, store):
    store.write_text("not a folder")
    with pytest.raises(StoreUnwritable, match=f"the store {store} cannot be written"):
        publish(candidate, store)


def test_interrupted_publisher_leaves_nothing_behind(candidate, store, monkeypatch):
    def interrupted(source, target):
        target.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(publishing, "_copy", interrupted)
    with pytest.raises(KeyboardInterrupt):
        publish(candidate, store)
    assert list((store / "digits").iterdir()) == []
