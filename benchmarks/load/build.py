"""Compiles the client, once for each state of its source."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

SOURCES = Path(__file__).parent / "client"
FLAGS = ("-std=c++20", "-O2", "-Wall", "-Wextra", "-Wconversion", "-Werror")
LIBRARIES = ("-lnghttp2",)
NEEDED = "the load generator needs a C++20 compiler and nghttp2; on Debian: apt-get install g++ libnghttp2-dev"


class ClientUnbuildable(Exception):
    """There is no compiler, or it refuses the client; the message says what to install."""


def build_client(cache: Path) -> Path:
    """The client's executable, compiled into `cache` unless it is there already.

    Raises ClientUnbuildable.
    """
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        raise ClientUnbuildable(NEEDED)
    target = cache / f"client-{_digest()}"
    if target.exists():
        return target
    cache.mkdir(parents=True, exist_ok=True)
    draft = target.with_suffix(f".{os.getpid()}")
    sources = sorted(str(path) for path in SOURCES.glob("*.cpp"))
    built = subprocess.run(
        [compiler, *FLAGS, *sources, "-o", str(draft), *LIBRARIES], capture_output=True, text=True, check=False
    )
    if built.returncode != 0:
        first = next((line for line in built.stderr.splitlines() if "error" in line), built.stderr[:200])
        raise ClientUnbuildable(f"{NEEDED} ({first.strip()})")
    draft.rename(target)
    return target


def _digest() -> str:
    digest = hashlib.sha256(" ".join((*FLAGS, *LIBRARIES)).encode())
    for path in sorted(SOURCES.iterdir()):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
