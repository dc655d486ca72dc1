"""How a training came to be, for its record: library versions, the git revision, a fingerprint of the data."""

import hashlib
import platform
import shutil
import subprocess
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

TRAINING_LIBRARIES = ("datasets", "lightning", "numpy", "pillow", "scikit-learn", "scipy", "tokenizers", "torch")
GIT_TIMEOUT_S = 10.0


def library_versions(libraries: Iterable[str] = TRAINING_LIBRARIES) -> dict[str, str]:
    """The versions of Python and of those of the libraries that are installed."""
    versions = {"python": platform.python_version()}
    for library in libraries:
        try:
            versions[library] = version(library)
        except PackageNotFoundError:
            continue
    return versions


def git_revision(directory: Path) -> str | None:
    """The commit that `directory` is checked out at, with `-dirty` after it where files differ; None outside git."""
    git = shutil.which("git")
    if git is None:
        return None
    command = [git, "-C", str(directory), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=GIT_TIMEOUT_S, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip() or None


def fingerprint(parts: Iterable[bytes | str]) -> str:
    """SHA-256 over the parts, in order; each with its length first, so that no two sequences run together."""
    digest = hashlib.sha256()
    for part in parts:
        content = part.encode() if isinstance(part, str) else part
        digest.update(len(content).to_bytes(8, "big"))
        digest.update(content)
    return digest.hexdigest()
