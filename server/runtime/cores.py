"""How many cores this process may use: what its container was given, not what the host has."""

import math
import os
from collections.abc import Callable
from pathlib import Path, PurePosixPath

CGROUP_ROOT = Path("/sys/fs/cgroup")
PROCESS_CGROUP = Path("/proc/self/cgroup")


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def available_cores(
    cgroup_root: Path = CGROUP_ROOT,
    process_cgroup: Path = PROCESS_CGROUP,
    affinity: Callable[[], int] = _affinity,
) -> int:
    """The smaller of the cgroup's CPU quota (v1 or v2) and the affinity mask; at least 1.

    A quota with a fraction is rounded down: one thread too many is stopped for the rest of every period, which shows
    as slow requests, while the fraction of a core that is given up shows as a little less throughput.
    """
    quotas = [quota for folder in _cpu_cgroups(cgroup_root, process_cgroup) if (quota := _quota(folder)) is not None]
    return max(1, math.floor(min([*quotas, float(affinity())])))


def _cpu_cgroups(root: Path, process_cgroup: Path) -> list[Path]:
    """The folders of this process's CPU cgroup and of all above it, each of which may set a quota."""
    try:
        lines = process_cgroup.read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return []
    folders: list[Path] = []
    for line in lines:
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        # v2 has one hierarchy without named controllers; v1 mounts cpu alone or together with cpuacct.
        if controllers == "":
            mounts = [root, root / "unified"]
        elif "cpu" in controllers.split(","):
            mounts = [root / "cpu", root / controllers]
        else:
            continue
        relative = PurePosixPath(path.lstrip("/"))
        if ".." in relative.parts:  # a cgroup above the namespace's root: only the root itself can be read
            relative = PurePosixPath()
        folders += [mount / part for mount in mounts for part in (relative, *relative.parents)]
    return folders


def _quota(folder: Path) -> float | None:
    """The quota of one cgroup in cores; None where it sets none."""
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()[:2]
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text().strip()
            period = (folder / "cpu.cfs_period_us").read_text().strip()
        if quota == "max" or int(quota) <= 0 or int(period) <= 0:
            return None
        return int(quota) / int(period)
    except (OSError, ValueError):
        return None
