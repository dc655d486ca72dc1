"""Publishes a verified candidate as the next version of its model: whole, or not at all.

    copy and hash -> <store>/<model>/.publishing-…   -> fsync -> rename -> <store>/<model>/<version>/

The rename is the moment of publication. The server's scan takes only numbers for versions, so that it never sees what
is half written; a publisher that is killed leaves at worst a hidden folder, which may be deleted.
"""

import errno
import hashlib
import io
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from models.export.bundle import read_candidate
from models.export.failure import CandidateUnusable, StoreUnwritable
from models.export.gate import check_earned
from server.manifest import MANIFEST_FILE, FileDigest, Manifest

DRAFT_PREFIX = ".publishing-"
FOLDER_MODE = 0o755
FILE_MODE = 0o644
"""The server often runs as another user, in a container: what is published, anyone on the machine may read."""

_CHUNK_BYTES = 1024**2
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_TAKEN = {errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR}


@dataclass(frozen=True)
class Publication:
    """A version that is now in the store."""

    model: str
    version: int
    directory: Path
    bytes: int
    """Of all files together."""


def publish(bundle: Path, store: Path) -> Publication:
    """Publishes the candidate in `bundle` as the version after the highest in the store, which it creates if need be.

    Publishers at work at the same time get different numbers; a version once published is never touched.
    Raises CandidateUnusable if there is no candidate, or its files are not those that were verified; PublishRefused
    if quality or parity are not good enough; StoreUnwritable if the store takes no more: nothing is published then,
    and nothing left behind.
    """
    manifest = read_candidate(bundle)
    check_earned(manifest)
    model_dir = store / manifest.name
    try:
        _make_folders(model_dir)
        draft = Path(tempfile.mkdtemp(prefix=DRAFT_PREFIX, dir=model_dir))
        try:
            size = _fill(draft, bundle, manifest)
            version = _take_number(draft, model_dir)
        finally:
            shutil.rmtree(draft, ignore_errors=True)  # gone by now, unless something failed
        _sync(model_dir)
    except OSError as error:
        raise _unwritable(error, store, manifest) from error
    return Publication(manifest.name, version, model_dir / str(version), size)


def _make_folders(model_dir: Path) -> None:
    for folder in (model_dir.parent, model_dir):
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(FOLDER_MODE)
            _sync(folder.parent)


def _fill(draft: Path, bundle: Path, manifest: Manifest) -> int:
    """Copies every verified file and the manifest, each on disk when this returns; the size of all in bytes."""
    for name, verified in manifest.files.items():
        try:
            source = (bundle / name).open("rb")
        except FileNotFoundError as error:
            raise CandidateUnusable(f"{bundle} lacks {name}, which was there when it was verified") from error
        with source:
            if _copy(source, draft / name) != verified:
                raise CandidateUnusable(f"{name} in {bundle} changed after it was verified: verify it again")
    written = _copy(io.BytesIO(manifest.to_json().encode()), draft / MANIFEST_FILE)
    draft.chmod(FOLDER_MODE)
    _sync(draft)
    return written.bytes + sum(verified.bytes for verified in manifest.files.values())


def _copy(source: BinaryIO, target: Path) -> FileDigest:
    """Copies to a new file, flushed to disk; the digest is of the bytes that were written."""
    sha256 = hashlib.sha256()
    with target.open("xb") as file:
        while chunk := source.read(_CHUNK_BYTES):
            sha256.update(chunk)
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
        size = file.tell()
    target.chmod(FILE_MODE)
    return FileDigest(sha256=sha256.hexdigest(), bytes=size)


def _take_number(draft: Path, model_dir: Path) -> int:
    """Renames the draft to the first number after the highest; another publisher may be faster, again and again."""
    while True:
        taken = [int(entry.name) for entry in model_dir.iterdir() if entry.name.isascii() and entry.name.isdecimal()]
        version = max(taken, default=0) + 1
        try:
            draft.rename(model_dir / str(version))  # fails on a folder that holds anything
        except OSError as error:
            if error.errno not in _TAKEN:
                raise
        else:
            return version


def _sync(folder: Path) -> None:
    """A new name is on disk only when its folder is."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unwritable(error: OSError, store: Path, manifest: Manifest) -> StoreUnwritable:
    if error.errno in _NO_ROOM:
        needed = sum(verified.bytes for verified in manifest.files.values())
        return StoreUnwritable(
            f"no room in the store {store} for {manifest.name}, which takes {needed} bytes; nothing was published"
        )
    reason = error.strerror or type(error).__name__
    return StoreUnwritable(f"the store {store} cannot be written ({reason.lower()}); nothing was published")
