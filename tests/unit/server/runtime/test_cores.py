import pytest

from server.runtime.cores import available_cores


def cores(tmp_path, files, process, affinity=8):
    for name, content in files.items():
        path = tmp_path / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    membership = tmp_path / "self"
    membership.write_text(process)
    return available_cores(tmp_path / "cgroup", membership, lambda: affinity)


def test_without_a_quota_the_affinity_mask_decides(tmp_path):
    assert cores(tmp_path, {"cpu.max": "max 100000\n"}, "0::/\n") == 8


def test_without_cgroups_the_affinity_mask_decides(tmp_path):
    assert available_cores(tmp_path / "none", tmp_path / "none", lambda: 3) == 3


def test_affinity_mask_below_the_quota_decides(tmp_path):
    assert cores(tmp_path, {"cpu.max": "400000 100000\n"}, "0::/\n", affinity=2) == 2


@pytest.mark.parametrize(("quota", "expected"), [("400000 100000", 4), ("250000 100000", 2), ("50000 100000", 1)])
def test_v2_quota_is_rounded_down_to_at_least_one(tmp_path, quota, expected):
    assert cores(tmp_path, {"cpu.max": quota}, "0::/\n") == expected


def test_v2_quota_of_a_cgroup_above_counts(tmp_path):
    files = {"pod/cpu.max": "200000 100000", "pod/container/cpu.max": "max 100000"}
    assert cores(tmp_path, files, "0::/pod/container\n") == 2


@pytest.mark.parametrize("mount", ["cpu", "cpu,cpuacct"])
def test_v1_quota_is_read_where_the_controller_is_mounted(tmp_path, mount):
    files = {f"{mount}/pod/cpu.cfs_quota_us": "300000\n", f"{mount}/pod/cpu.cfs_period_us": "100000\n"}
    assert cores(tmp_path, files, "5:memory:/other\n4:cpu,cpuacct:/pod\n") == 3


def test_v1_path_of_the_host_falls_back_to_the_containers_own_root(tmp_path):
    files = {"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}
    assert cores(tmp_path, files, "1:cpu:/kubepods/burstable/pod1\n") == 2


def test_v1_quota_of_minus_one_is_none(tmp_path):
    files = {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}
    assert cores(tmp_path, files, "1:cpu:/\n") == 8


@pytest.mark.parametrize("content", ["", "max", "none 5", "100000 0"])
def test_malformed_quota_is_none(tmp_path, content):
    assert cores(tmp_path, {"cpu.max": content}, "0::/\n") == 8


def test_cgroup_above_the_namespace_reads_the_root_only(tmp_path):
    (tmp_path / "cpu.max").write_text("100000 100000")
    assert cores(tmp_path, {"cpu.max": "200000 100000"}, "0::/../..\n") == 2


@pytest.mark.parametrize("line", ["", "nonsense", "1:cpu", "::"])
def test_malformed_membership_is_ignored(tmp_path, line):
    assert cores(tmp_path, {}, line) == 8


def test_this_process_has_at_least_one_core():
    assert available_cores() >= 1
