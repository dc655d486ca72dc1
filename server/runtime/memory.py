"""How much memory this process may still take: of what its container was given, or else of what the host has."""

from pathlib import Path

CGROUP_ROOT = Path("/sys/fs/cgroup")
MEMORY_INFO = Path("/proc/meminfo")


def available_bytes(cgroup_root: Path = CGROUP_ROOT, memory_info: Path = MEMORY_INFO) -> int | None:
    """The smaller of what the cgroup's limit (v2) leaves and what the host has available; None where neither tells."""
    told = [size for size in (_cgroup(cgroup_root), _host(memory_info)) if size is not None]
    return max(0, min(told)) if told else None


def _cgroup(root: Path) -> int | None:
    try:
        return int((root / "memory.max").read_text()) - int((root / "memory.current").read_text())
    except (OSError, ValueError):  # no such cgroup, or `max`: no limit
        return None


def _host(info: Path) -> int | None:
    try:
        for line in info.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return None
