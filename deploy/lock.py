"""Writes the exact dependencies of the images, with hashes, from the ranges in both pyproject.toml files.

`make lock` runs it; `--upgrade` takes the newest versions that the ranges allow, otherwise what stands in the lock
files is kept where it still fits. Needs `uv` beside this interpreter or on PATH, and the package index.

What the tests bound (the extra `dev`) bounds the lock files too, so that an image runs what was tested. `train` and
`serve-openvino` take the versions of `serve`, so that a model is verified on what serves it. PyTorch stays out: which
of its builds is installed is chosen when the image is built, and its hashes with it.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "deploy" / "requirements"
PYTHON = "3.11"
"""The images' Python (`PYTHON_IMAGE` in the Dockerfile)."""

X86_64, ARM64 = "x86_64-manylinux_2_28", "aarch64-manylinux_2_28"
OWN = ("attendant", "attendant-client")
"""Built from this repository, never taken from an index."""
TORCH = "torch"
BUILD_TOOLS = ("setuptools>=77", "cyclonedx-bom>=7,<8")
"""What the images are built with and do not carry: the build backend, and the writer of the SBOM."""


@dataclass(frozen=True)
class Lock:
    """One lock file."""

    name: str
    extras: tuple[str, ...]
    like: str | None = None
    """The lock file whose versions it takes."""
    platforms: tuple[str, ...] = (X86_64, ARM64)


LOCKS = (
    Lock("serve", ("cpu",)),
    # onnxruntime-openvino has wheels for x86-64 only.
    Lock("serve-openvino", ("openvino",), like="serve", platforms=(X86_64,)),
    Lock("train", ("cpu", "train"), like="serve"),
    Lock("build", ()),
)


def main() -> int:
    """Runs the command; returns its exit status."""
    parser = argparse.ArgumentParser(description="Write deploy/requirements/*.txt.")
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions that the ranges allow")
    upgrade = parser.parse_args().upgrade
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    if uv is None:
        sys.stderr.write("uv is neither beside this interpreter nor on PATH; `make lock` installs it\n")
        return 1
    for lock in LOCKS:
        write(uv, lock, upgrade=upgrade)
    return 0


def requirements(lock: Lock) -> list[str]:
    """What the lock file must satisfy, as the pyproject.toml files say it, both packages of our own left out."""
    if not lock.extras:
        return list(BUILD_TOOLS)
    project = _project("pyproject.toml")
    extras = project["optional-dependencies"]
    pending = [*project["dependencies"], *_project("client/pyproject.toml")["dependencies"]]
    pending += [requirement for extra in lock.extras for requirement in extras[extra]]
    found = []
    while pending:
        requirement = Requirement(pending.pop(0))
        if requirement.name in OWN:
            pending += [each for extra in sorted(requirement.extras) for each in extras[extra]]
        else:
            found.append(str(requirement))
    return sorted(set(found))


def write(uv: str, lock: Lock, *, upgrade: bool) -> None:
    """Resolves for every platform from wheels alone, and writes the file.

    Raises SystemExit where there is no solution, or where platforms differ: the file would then not be one set.
    """
    target = FOLDER / f"{lock.name}.txt"
    with tempfile.TemporaryDirectory() as folder:
        wanted, bounds = Path(folder) / "wanted.in", Path(folder) / "bounds.txt"
        wanted.write_text("\n".join(requirements(lock)) + "\n")
        bounds.write_text("\n".join(bounds_of_the_tests()) + "\n")
        options = ["--generate-hashes", "--constraint", str(bounds)]
        if lock.like:
            options += ["--constraint", str(FOLDER / f"{lock.like}.txt")]
        options += [part for name in _torch_and_its_cuda(uv, lock) for part in ("--no-emit-package", name)]
        texts = []
        for platform in lock.platforms:
            output = Path(folder) / f"{platform}.txt"
            # uv keeps the versions that it finds in its output file.
            if target.exists() and not upgrade:
                shutil.copy(target, output)
            _resolve(uv, wanted, platform, ["--output-file", str(output), *options])
            texts.append(output.read_text())
    if len(set(texts)) > 1:
        raise SystemExit(f"{lock.name}: {' and '.join(lock.platforms)} need different packages; nothing written")
    target.write_text(texts[0])
    sys.stderr.write(f"{target.relative_to(ROOT)}: {len(pins(texts[0]))} packages\n")


def pins(text: str) -> dict[str, str]:
    """The versions that a lock file names."""
    lines = (line.removesuffix("\\").strip() for line in text.splitlines() if line[:1].isalnum())
    return dict(line.split("==") for line in lines)


def bounds_of_the_tests() -> list[str]:
    """The tests' ranges as constraints, which may not ask for extras."""
    tested = (Requirement(each) for each in _project("pyproject.toml")["optional-dependencies"]["dev"])
    return sorted(f"{requirement.name}{requirement.specifier}" for requirement in tested)


def _torch_and_its_cuda(uv: str, lock: Lock) -> Iterable[str]:
    """Names that stay out: PyTorch and what its CUDA build, and nothing else, brings with it."""
    wanted = [each for each in requirements(lock) if Requirement(each).name == TORCH]
    if not wanted:
        return ()
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "torch.in"
        source.write_text("\n".join(wanted) + "\n")
        names = pins(_resolve(uv, source, X86_64, []))
    return [name for name in names if name in (TORCH, "triton") or name.startswith(("nvidia-", "cuda-"))]


def _resolve(uv: str, source: Path, platform: str, options: Sequence[str]) -> str:
    options = ["--python-version", PYTHON, "--python-platform", platform, "--only-binary", ":all:", *options]
    command = [uv, "pip", "compile", "--no-config", "--quiet", "--no-annotate", *options]
    command += ["--custom-compile-command", "make lock", str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise SystemExit(f"{source.stem} for {platform}:\n{done.stderr}")
    return done.stdout


def _project(path: str) -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads((ROOT / path).read_text(encoding="utf-8"))["project"]
    return project


if __name__ == "__main__":
    sys.exit(main())
