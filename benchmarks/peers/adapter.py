"""What a peer must say of itself, and how a server gets an environment of its own."""

import hashlib
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.peers.wire import Wire

INSTALL_TIMEOUT_S = 1200.0
RUNTIMES = ("onnxruntime", "onnxruntime-openvino", "onnxruntime-gpu")


class PeerUnavailable(Exception):
    """A peer cannot be installed or started; the message is the reason that stands in the results."""


@dataclass(frozen=True)
class Peer:
    """One server to compare with."""

    name: str
    title: str
    version: str
    requirements: tuple[str, ...]
    wire: Callable[[int], Wire]
    """The wire for a largest batch: 1 where the peer's batching is off."""
    interpreter: str = sys.executable
    """The Python of its environment."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Further environment variables of the server."""

    @property
    def module(self) -> str:
        """What its environment's Python runs."""
        return f"benchmarks.peers.{self.name}.serve"


def runtime_version() -> str:
    """The version of ONNX Runtime that is installed here, so that all peers get the same."""
    for name in RUNTIMES:
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    raise PeerUnavailable(f"none of {', '.join(RUNTIMES)} is installed")


def install(peer: Peer, cache: Path, precision: str) -> Path:
    """The Python of the peer's environment, made below `cache` on the first call, which takes minutes.

    For bf16 it has the OpenVINO build of ONNX Runtime, in the newest version up to ours.
    Raises PeerUnavailable with pip's own reason.
    """
    runtime = openvino_runtime() if precision == "bf16" else f"onnxruntime=={runtime_version()}"
    return environment(peer.name, peer.title, (*peer.requirements, runtime), cache, peer.interpreter)


def openvino_runtime() -> str:
    """The requirement of the OpenVINO build; the newest is behind the plain one, so up to ours."""
    return f"onnxruntime-openvino<={runtime_version()}"


def environment(
    name: str,
    title: str,
    wanted: Sequence[str],
    cache: Path,
    interpreter: str = sys.executable,
    depends: str = "",
) -> Path:
    """The Python of an environment that has what is wanted, made below `cache` on the first call.

    It is made anew where `wanted`, which pip gets as it is, or `depends`, which says what that stands for, changes.
    Raises PeerUnavailable with pip's own reason.
    """
    digest = hashlib.sha256(" ".join((interpreter, *wanted, *depends.split())).encode()).hexdigest()[:8]
    folder = cache / "envs" / f"{name}-{digest}"
    python, done = folder / "bin" / "python", folder / ".installed"
    if done.exists():
        return python
    log = cache / "envs" / f"{name}-{digest}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    _run([interpreter, "-m", "venv", "--clear", str(folder)], log, title)
    _run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted], log, title)
    done.touch()
    return python


def _run(command: list[str], log: Path, title: str) -> None:
    try:
        with log.open("a") as sink:
            ended = subprocess.run(command, stdout=sink, stderr=sink, timeout=INSTALL_TIMEOUT_S, check=False)
    except FileNotFoundError as error:
        raise PeerUnavailable(f"{title} cannot be installed: there is no {command[0]}") from error
    except subprocess.TimeoutExpired as error:
        raise PeerUnavailable(f"{title} was not installed after {INSTALL_TIMEOUT_S:.0f} s") from error
    if ended.returncode != 0:
        raise PeerUnavailable(f"{title} cannot be installed: {last_line(log)}")


def last_line(log: Path) -> str:
    """The last line of a log that says something, errors before all others; without folders of this machine."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()]
    told = (errors or lines or ["it said nothing"])[-1]
    return told.replace(str(Path.home()), "~").replace(str(Path.cwd()), ".")[:300]
