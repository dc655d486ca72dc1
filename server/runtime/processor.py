"""Which processor this is: what was measured on one says little about another."""

import platform
from pathlib import Path

CPU_INFO = Path("/proc/cpuinfo")
_FIELDS = ("model name", "cpu family", "model", "stepping", "CPU implementer", "CPU part")


def processor(cpu_info: Path = CPU_INFO) -> str:
    """The processor's name, family, model and stepping, as far as the system tells."""
    found: dict[str, str] = {}
    try:
        for line in cpu_info.read_text(errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() in _FIELDS:
                found.setdefault(name.strip(), value.strip())
    except OSError:
        pass
    return "; ".join([platform.machine(), *(f"{name} {found[name]}" for name in _FIELDS if name in found)])
