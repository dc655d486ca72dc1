"""Exports of encoder-decoders by the real tools, and what the library itself wrote with them.

Two small ones are kept beside this file as archives; `make test-import` makes larger ones anew and names their folder
in HUGGING_FACE_EXPORTS. `tests/support/hugging_face_exports.py` makes both.
"""

import atexit
import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from models.export.publish import publish
from models.importing.candidate import import_candidate
from models.importing.folder import read_export
from models.importing.verify import verify_import
from server.manifest import Manifest, parse_manifest

ARCHIVES = Path(__file__).parent / "hugging_face_archives"
ARCHIVED = tuple(sorted(path.stem for path in ARCHIVES.glob("*.zip")))
_FRESH = Path(os.environ.get("HUGGING_FACE_EXPORTS", "nowhere"))
FRESH = tuple(sorted(f"fresh-{path.parent.name}" for path in _FRESH.glob("*/expected.json")))
EXPORTS = (*ARCHIVED, *FRESH)


@dataclass(frozen=True)
class Imported:
    """A published import."""

    name: str
    store: Path
    manifest: Manifest
    expected: dict[str, Any]
    """What `expected.json` of the export says."""


@cache
def export_folder(name: str) -> Path:
    """One of `EXPORTS`; shared by the session: copy it before you write into it."""
    if name in FRESH:
        return _FRESH / name.removeprefix("fresh-")
    folder = _scratch() / name
    shutil.unpack_archive(ARCHIVES / f"{name}.zip", folder)
    return folder


@cache
def imported(name: str) -> Imported:
    """One of `EXPORTS`, verified and published; shared by the session: do not write into it."""
    folder, bundle, store = export_folder(name), _scratch() / f"{name}-run" / "bundle", _scratch() / f"{name}-store"
    export = read_export(folder)
    import_candidate(export, bundle, name=name)
    verify_import(export, bundle)
    publication = publish(bundle, store)
    manifest = parse_manifest((publication.directory / "manifest.json").read_bytes())
    return Imported(name, store, manifest, json.loads((folder / "expected.json").read_text(encoding="utf-8")))


@cache
def _scratch() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="attendant-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
