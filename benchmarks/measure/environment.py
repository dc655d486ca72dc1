"""Where and with what a benchmark ran: without it a number says nothing."""

import platform
import sys
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from models.provenance import git_revision, library_versions
from server.runtime.cores import available_cores

LIBRARIES = (
    "grpcio",
    "numpy",
    "onnx",
    "onnxruntime",  # of its three builds one is installed
    "onnxruntime-gpu",
    "onnxruntime-openvino",
    "openvino",
    "protobuf",
    "torch",
    "uvloop",
)
INSTRUCTION_SETS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "asimd", "sve", "bf16", "i8mm")
"""Those that change how fast attention runs, by the names of Linux."""


class Environment(BaseModel):
    """One machine, at one time, running one command."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    date: str
    """ISO 8601, UTC, to the second."""
    command: str
    git_revision: str | None
    system: str
    processor: str
    instruction_sets: tuple[str, ...]
    cores: int
    """Those that the process may use."""
    memory_gib: float
    versions: dict[str, str]


def environment() -> Environment:
    """The environment of this process, now."""
    processor, flags = _processor()
    return Environment(
        date=now(),
        command=_command(),
        git_revision=git_revision(Path(__file__).parent),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        processor=processor,
        instruction_sets=tuple(name for name in INSTRUCTION_SETS if name in flags),
        cores=available_cores(),
        memory_gib=_memory_gib(),
        versions=library_versions(LIBRARIES),
    )


def now() -> str:
    """ISO 8601, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _command() -> str:
    """The command as one types it: the module in place of its file, and no folder of this machine."""
    program = Path(sys.argv[0])
    if program.suffix != ".py":
        return " ".join([program.name, *sys.argv[1:]])
    *packages, module = program.with_suffix("").parts[-4:]
    start = packages.index("benchmarks") if "benchmarks" in packages else len(packages)
    names = [*packages[start:], *([] if module == "__main__" else [module])]
    return " ".join([f"python -m {'.'.join(names)}", *sys.argv[1:]])


def _processor() -> tuple[str, frozenset[str]]:
    """Its name with family, model and stepping where the system tells them, and its instruction sets."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or "unknown", frozenset()
    first: dict[str, str] = {}
    for line in text.split("\n\n")[0].splitlines():
        key, _, value = line.partition(":")
        first[key.strip()] = value.strip()
    name = first.get("model name") or platform.processor() or "unknown"
    details = [f"{key} {first[key]}" for key in ("cpu family", "model", "stepping") if key in first]
    flags = frozenset(first.get("flags", first.get("Features", "")).split())
    return ", ".join([name, *details]), flags


def _memory_gib() -> float:
    """The machine's memory; 0 where the system does not say."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("MemTotal:"):
                return round(int(line.split()[1]) / 1024**2, 1)
    except OSError:
        pass
    return 0.0
