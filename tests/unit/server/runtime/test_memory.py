import pytest

from server.runtime.memory import available_bytes

MIB = 1024**2


@pytest.fixture
def host(tmp_path):
    info = tmp_path / "meminfo"
    info.write_text("MemTotal:       8388608 kB\nMemAvailable:    4096 kB\n")
    return info


def cgroup(folder, limit, current):
    (folder / "memory.max").write_text(limit)
    (folder / "memory.current").write_text(current)


def test_a_container_has_what_its_limit_leaves(tmp_path, host):
    cgroup(tmp_path, str(3 * MIB), str(1 * MIB))
    assert available_bytes(tmp_path, host) == 2 * MIB


def test_the_host_may_have_less_than_the_limit_leaves(tmp_path, host):
    cgroup(tmp_path, str(900 * MIB), "0")
    assert available_bytes(tmp_path, host) == 4 * MIB


def test_a_cgroup_without_a_limit_leaves_it_to_the_host(tmp_path, host):
    cgroup(tmp_path, "max", "0")
    assert available_bytes(tmp_path, host) == 4 * MIB


def test_over_the_limit_nothing_is_left(tmp_path, host):
    cgroup(tmp_path, "1", "2")
    assert available_bytes(tmp_path, host) == 0


def test_where_nobody_tells_it_is_unknown(tmp_path):
    assert available_bytes(tmp_path, tmp_path / "none") is None
