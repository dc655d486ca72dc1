"""What lies in the store: models, their versions and aliases, and what is wrong with any of them."""

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from server.errors import ArtifactCorrupt
from server.manifest import ALIASES_FILE, MANIFEST_FILE, MODEL_NAME_PATTERN
from server.store.aliases import read_aliases
from server.store.paths import inside, inside_file
from server.store.triton import CONFIG_FILE, read_version_policy

_VERSION = re.compile(r"[1-9][0-9]{0,17}")  # fits a signed 64-bit integer
_NUMERIC = re.compile(r"[+-]?[0-9]+")


class StoreUnavailable(Exception):
    """The store does not exist, is no folder, or cannot be read: now, or not any more."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """Tells whether a version's files changed, without reading them."""

    fingerprint: str
    """Over names, sizes, times of modification and inodes."""
    has_manifest: bool


@dataclass(frozen=True)
class ModelFolder:
    """One model's folder."""

    versions: Mapping[int, Stamp]
    """The version folders in ascending order."""
    aliases: Mapping[str, int] = field(default_factory=dict)
    """Where the aliases point, whether or not that version exists; none where `aliases.json` is malformed."""
    version_policy: str | None = None
    """The policy that a Triton configuration asks for, as the settings would write it."""
    problems: Mapping[str | int, str] = field(default_factory=dict)
    """What cannot be used and why, by version, or by name of file or folder."""


@dataclass(frozen=True)
class StoreSnapshot:
    """The store at one look; two looks at an unchanged store are equal."""

    models: Mapping[str, ModelFolder]
    problems: Mapping[str, str] = field(default_factory=dict)
    """Folders that are no models, and why, by name."""


class Store:
    """A folder of models."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def scan(self) -> StoreSnapshot:
        """Looks at every model; reads no weights, but the small files that say where names lead. Blocks on the disk.

        Raises StoreUnavailable if the store itself cannot be read.
        """
        models: dict[str, ModelFolder] = {}
        problems: dict[str, str] = {}
        try:
            names = sorted(entry.name for entry in self.path.iterdir())
        except OSError as error:
            raise StoreUnavailable(f"the store {self.path} cannot be read: {error.strerror}") from error
        for name in names:
            folder = self.path / name
            if name.startswith(".") or not (folder.is_dir() or folder.is_symlink()):
                continue
            if not re.fullmatch(MODEL_NAME_PATTERN, name):
                problems[ascii(name)[1:-1]] = "not a model name: letters, digits, '.', '_' and '-' only"
                continue
            try:
                models[name] = self._model(inside(self.path, folder))
            except ArtifactCorrupt as error:
                problems[name] = error.message
            except OSError as error:
                problems[name] = f"cannot be read: {error.strerror}"
        return StoreSnapshot(models, problems)

    def _model(self, directory: Path) -> ModelFolder:
        problems: dict[str | int, str] = {}
        versions = dict(self._versions(directory, problems))
        aliases: dict[str, int] = {}
        policy = None
        try:
            if _exists(directory / ALIASES_FILE):
                inside_file(self.path, directory / ALIASES_FILE)
                aliases = {alias: target.version for alias, target in sorted(read_aliases(directory).items())}
        except ArtifactCorrupt as error:
            problems[ALIASES_FILE] = error.message
        try:
            if _exists(directory / CONFIG_FILE):
                policy = read_version_policy(self.path, directory)
        except ArtifactCorrupt as error:
            problems[CONFIG_FILE] = error.message
        for alias, version in aliases.items():
            if version not in versions:
                problems[f"alias {alias}"] = f"points at version {version}, which does not exist"
        return ModelFolder(dict(sorted(versions.items())), aliases, policy, problems)

    def _versions(self, directory: Path, problems: dict[str | int, str]) -> Iterator[tuple[int, Stamp]]:
        for name in sorted(entry.name for entry in directory.iterdir()):
            if not (directory / name).is_dir() and not (directory / name).is_symlink():
                continue
            if not _VERSION.fullmatch(name):
                if _NUMERIC.fullmatch(name):
                    problems[name] = "not a version: a positive integer without sign or leading zeros"
                continue
            try:
                yield int(name), _stamp(inside(self.path, directory / name))
            except (ArtifactCorrupt, OSError) as error:
                problems[int(name)] = error.message if isinstance(error, ArtifactCorrupt) else "cannot be read"


def _exists(path: Path) -> bool:
    """Whether something is there, if only a link that leads nowhere."""
    return os.path.lexists(path)


def _stamp(directory: Path) -> Stamp:
    """Looks at the files of a version and of the folders in it, not deeper: no layout that is served goes deeper."""
    hashed = hashlib.sha256()
    for path in sorted(directory.iterdir()):
        for entry in (path, *(sorted(path.iterdir()) if path.is_dir() and not path.is_symlink() else ())):
            try:
                facts = entry.stat()
            except OSError:  # a broken link, or a file that was removed meanwhile
                facts = entry.lstat()
            where = entry.relative_to(directory)
            hashed.update(f"{where!r} {facts.st_size} {facts.st_mtime_ns} {facts.st_ino}\n".encode())
    return Stamp(hashed.hexdigest(), has_manifest=_exists(directory / MANIFEST_FILE))
