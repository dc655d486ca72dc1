"""`aliases.json`: names such as `stable` for versions, moved in one step and back in one step.

Every writer goes through the model's lock file, reads what the one before it wrote, and replaces the file by a rename,
so that readers see the old aliases or the new ones and two writers never undo each other.
"""

import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pydantic import Field, TypeAdapter, ValidationError
from pydantic_core import from_json

from server.errors import ArtifactCorrupt, VersionNotFound
from server.manifest import ALIASES_FILE, Alias, Frozen

SCHEMA_VERSION: Literal[1] = 1
MAX_ALIASES_BYTES = 1024**2
"""A larger file is refused unread."""
_LOCK_FILE = ".aliases.lock"


class AliasTarget(Frozen):
    """Where an alias points, and where it pointed before."""

    version: int = Field(ge=1)
    previous: int | None = Field(default=None, ge=1)
    """What `move_back` returns to; None for an alias that never moved."""


class AliasFile(Frozen):
    """The content of `aliases.json`."""

    schema_version: Literal[1] = SCHEMA_VERSION
    aliases: dict[Alias, AliasTarget]


def read_aliases(model_dir: Path) -> Mapping[str, AliasTarget]:
    """The aliases of the model in `model_dir`; none where it has no `aliases.json`.

    Raises ArtifactCorrupt if the file is unreadable, too large, of another schema version or malformed.
    """
    try:
        with (model_dir / ALIASES_FILE).open("rb") as file:
            content = file.read(MAX_ALIASES_BYTES + 1)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ArtifactCorrupt(f"{ALIASES_FILE} cannot be read") from error
    if len(content) > MAX_ALIASES_BYTES:
        raise ArtifactCorrupt(f"{ALIASES_FILE} is larger than {MAX_ALIASES_BYTES} bytes")
    return _parse(content).aliases


def write_aliases(
    model_dir: Path, change: Callable[[Mapping[str, AliasTarget]], Mapping[str, AliasTarget]]
) -> Mapping[str, AliasTarget]:
    """Replaces the aliases by what `change` makes of the present ones, in one step, and returns the new ones.

    Raises ArtifactCorrupt if the present file is malformed, for overwriting it would lose what it meant.
    """
    with _locked(model_dir):
        changed = AliasFile(aliases=dict(change(read_aliases(model_dir))))
        _replace(model_dir, changed.model_dump_json(indent=2, exclude_none=True) + "\n")
    return changed.aliases


def move_alias(model_dir: Path, alias: str, version: int) -> AliasTarget:
    """Points `alias` (new or not) at `version`, and remembers where it pointed.

    Raises ValueError if `alias` is no valid name, VersionNotFound if the version does not exist, ArtifactCorrupt if
    the aliases cannot be read.
    """
    TypeAdapter(Alias).validate_python(alias)
    if version < 1 or not (model_dir / str(version)).is_dir():
        raise VersionNotFound(f"model {model_dir.name} has no version {version}")

    def moved(aliases: Mapping[str, AliasTarget]) -> Mapping[str, AliasTarget]:
        present = aliases.get(alias)
        if present is not None and present.version == version:  # moving to where it is must not forget the way back
            return aliases
        return {**aliases, alias: AliasTarget(version=version, previous=present.version if present else None)}

    return write_aliases(model_dir, moved)[alias]


def move_back(model_dir: Path, alias: str) -> AliasTarget:
    """Points `alias` where it pointed before its last move; doing it twice is moving forward again.

    Raises VersionNotFound if the alias does not exist, never moved, or came from a version that is gone,
    ArtifactCorrupt if the aliases cannot be read.
    """

    def moved(aliases: Mapping[str, AliasTarget]) -> Mapping[str, AliasTarget]:
        present = aliases.get(alias)
        if present is None:
            raise VersionNotFound(f"model {model_dir.name} has no alias {alias}")
        if present.previous is None:
            raise VersionNotFound(f"alias {alias} of model {model_dir.name} was never moved")
        if not (model_dir / str(present.previous)).is_dir():
            raise VersionNotFound(f"model {model_dir.name} no longer has version {present.previous}")
        return {**aliases, alias: AliasTarget(version=present.previous, previous=present.version)}

    return write_aliases(model_dir, moved)[alias]


def remove_alias(model_dir: Path, alias: str) -> None:
    """Forgets `alias`.

    Raises VersionNotFound if it does not exist, ArtifactCorrupt if the aliases cannot be read.
    """

    def without(aliases: Mapping[str, AliasTarget]) -> Mapping[str, AliasTarget]:
        if alias not in aliases:
            raise VersionNotFound(f"model {model_dir.name} has no alias {alias}")
        return {name: target for name, target in aliases.items() if name != alias}

    write_aliases(model_dir, without)


def _parse(content: bytes) -> AliasFile:
    try:
        document = from_json(content)
    except ValueError as error:
        raise ArtifactCorrupt(f"{ALIASES_FILE} is not JSON") from error
    schema = document.get("schema_version") if isinstance(document, dict) else None
    if schema != SCHEMA_VERSION:
        raise ArtifactCorrupt(f"{ALIASES_FILE} has schema version {schema!r}; this server reads {SCHEMA_VERSION}")
    try:
        return AliasFile.model_validate_json(content, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ArtifactCorrupt(f"{ALIASES_FILE}: {where}: {first['msg']}") from error


@contextmanager
def _locked(model_dir: Path) -> Iterator[None]:
    """Holds the model's lock over threads and processes; the kernel lets go of it when a holder dies."""
    descriptor = os.open(model_dir / _LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _replace(model_dir: Path, text: str) -> None:
    """Writes `aliases.json` so that a crash leaves the old one or the new one, whole."""
    descriptor, temporary = tempfile.mkstemp(prefix=".aliases.", dir=model_dir)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)  # mkstemp's 0600 would hide it from a server that runs as another user
        Path(temporary).replace(model_dir / ALIASES_FILE)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    _sync_folder(model_dir)


def _sync_folder(folder: Path) -> None:
    """The rename itself is on disk only after its folder is."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
