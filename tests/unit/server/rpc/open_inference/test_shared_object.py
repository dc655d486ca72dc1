"""Objects of shared memory in a folder of the test's own: what is opened, and what never is."""

import os
from pathlib import Path

import pytest

from server.errors import ParameterInvalid, RegionNotFound
from server.rpc.open_inference.shared_object import open_object


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    folder = tmp_path / "shm"
    folder.mkdir()
    (folder / "region").write_bytes(b"0123456789")
    return folder


@pytest.mark.parametrize("key", ["region", "/region"])
def test_bytes_go_in_and_out(directory, key):
    opened = open_object(key, "", directory)
    assert (opened.byte_size, opened.writable) == (10, True)
    assert opened.read(2, 3) == b"234"
    assert opened.write(2, b"xyz")
    assert (directory / "region").read_bytes() == b"01xyz56789"


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/",
        ".",
        "..",
        "/..",
        "...",
        "//region",
        "a/b",
        "../secret",
        "/../secret",
        "/dev/shm/region",
        "region\0",
        "region\n",
        "r\u00e9gion",
        "sem.lock",
        "/sem.lock",
        "x" * 250,
    ],
)
def test_a_key_that_is_no_plain_name_is_refused(directory, key):
    (directory.parent / "secret").write_bytes(b"secret")
    (directory / "sem.lock").write_bytes(bytes(32))
    with pytest.raises(ParameterInvalid, match="names no shared memory object"):
        open_object(key, "", directory)


def test_a_link_is_never_followed(directory, tmp_path):
    (tmp_path / "secret").write_bytes(b"secret")
    (directory / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(ParameterInvalid, match="is a link"):
        open_object("link", "", directory)


def test_what_is_no_plain_object_is_refused_without_waiting_for_it(directory):
    os.mkfifo(directory / "pipe")
    (directory / "folder").mkdir()
    with pytest.raises(ParameterInvalid, match="no shared memory object"):
        open_object("pipe", "", directory)
    with pytest.raises(ParameterInvalid, match="cannot be opened"):
        open_object("folder", "", directory)


def test_an_object_that_is_not_there_is_not_found(directory):
    with pytest.raises(RegionNotFound, match="'nobody'"):
        open_object("nobody", "", directory)


def test_a_prefix_keeps_the_objects_of_others_out(directory):
    assert open_object("/region", "reg", directory).byte_size == 10
    with pytest.raises(ParameterInvalid, match="begin with 'attendant-'"):
        open_object("/region", "attendant-", directory)


def test_an_object_that_may_only_be_read_is_opened_so(directory, monkeypatch):
    real = os.open

    def refuse_writing(path, flags, *more):
        if flags & os.O_RDWR:
            raise PermissionError
        return real(path, flags, *more)

    monkeypatch.setattr(os, "open", refuse_writing)
    opened = open_object("region", "", directory)
    assert (opened.writable, opened.read(0, 2)) == (False, b"01")
    assert not opened.write(0, b"x")


def test_an_object_that_was_truncated_gives_what_is_left_and_is_not_extended(directory):
    opened = open_object("region", "", directory)
    os.truncate(directory / "region", 4)
    assert opened.read(2, 8) == b"23"
    assert opened.read(8, 2) == b""
    assert not opened.write(2, b"abc")
    assert (directory / "region").read_bytes() == b"0123"


def test_an_object_is_closed_when_nobody_refers_to_it(directory):
    def is_open() -> bool:
        found = [entry for entry in Path("/proc/self/fd").iterdir() if os.path.lexists(entry)]
        return directory / "region" in [entry.readlink() for entry in found]

    opened = open_object("region", "", directory)
    assert is_open()
    del opened
    assert not is_open()
