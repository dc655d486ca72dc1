"""SHA-256 of a bundle's files."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from server.manifest import FileDigest


def digest(path: Path) -> FileDigest:
    """The digest and size of one file."""
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return FileDigest(sha256=sha256, bytes=file.tell())


def digests(directory: Path, names: Iterable[str]) -> dict[str, FileDigest]:
    """The digests of the named files of a folder, in alphabetical order."""
    return {name: digest(directory / name) for name in sorted(names)}
