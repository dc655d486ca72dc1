import struct

import pytest

from benchmarks.load.records import MAGIC, RecordsUnreadable, read_records


def written(path, calls: int = 2, body: bytes = b"abcde"):
    head = MAGIC + struct.pack("<Q3d", calls, 10.0, 2.0, 0.5)
    rows = b"".join(struct.pack("<4IQ3d", index, 0, 200, size, 0, 0.0, 0.1, 0.2) for index, size in ((0, 2), (1, 3)))
    path.write_bytes(head + rows + body)
    return path


def test_records_are_read_with_their_bodies(tmp_path):
    found = read_records(written(tmp_path / "records"))

    assert list(found.answers()) == [b"ab", b"cde"]
    assert found.calls["status"].tolist() == [200, 200]
    assert (found.started_s, found.ended_s, found.cpu_s) == (10.0, 2.0, 0.5)


@pytest.mark.parametrize("change", [{"body": b"abcd"}, {"calls": 3}])
def test_records_cut_short_are_refused(tmp_path, change):
    with pytest.raises(RecordsUnreadable, match="cut short"):
        read_records(written(tmp_path / "records", **change))


def test_other_file_is_refused(tmp_path):
    (tmp_path / "records").write_bytes(b"something else")

    with pytest.raises(RecordsUnreadable, match="not a file of records"):
        read_records(tmp_path / "records")
