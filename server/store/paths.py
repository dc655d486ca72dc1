"""Where a path of the store really lies, and how much of a small file is read."""

from pathlib import Path

from server.errors import ArtifactCorrupt

MAX_TEXT_BYTES = 16 * 1024**2
"""The most bytes of a manifest, a label list or a configuration; a larger one is refused unread."""


def inside(root: Path, path: Path) -> Path:
    """The real location of `path`, all symbolic links followed.

    Links within the store are fine (Kubernetes mounts volumes through them); no link leads out of it.

    Raises ArtifactCorrupt if it lies outside `root`, does not exist, or the links run in a circle.
    """
    try:
        real = path.resolve(strict=True)
        allowed = real.is_relative_to(root.resolve(strict=True))
    except (OSError, RuntimeError, ValueError) as error:  # ValueError: a name with a null character
        raise ArtifactCorrupt(f"{path.name} is missing or cannot be read") from error
    if not allowed:
        raise ArtifactCorrupt(f"{path.name} is a link that leads out of the store")
    return real


def inside_file(root: Path, path: Path) -> Path:
    """The real location of a regular file.

    Raises ArtifactCorrupt as `inside` does, and if it is anything but a file.
    """
    real = inside(root, path)
    if not real.is_file():
        raise ArtifactCorrupt(f"{path.name} is not a file")
    return real


def read_text_file(root: Path, path: Path) -> bytes:
    """The content of a small file of the store.

    Raises ArtifactCorrupt if it lies outside the store, cannot be read, or is larger than MAX_TEXT_BYTES.
    """
    real = inside_file(root, path)
    try:
        with real.open("rb") as file:
            content = file.read(MAX_TEXT_BYTES + 1)
    except OSError as error:
        raise ArtifactCorrupt(f"{path.name} cannot be read") from error
    if len(content) > MAX_TEXT_BYTES:
        raise ArtifactCorrupt(f"{path.name} is larger than {MAX_TEXT_BYTES} bytes")
    return content
