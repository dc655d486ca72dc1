"""Published bundles: nothing is opened whose digest the manifest does not promise."""

import hashlib
from pathlib import Path

from server.errors import ArtifactCorrupt
from server.manifest import MANIFEST_FILE, FileDigest, Manifest, TextCodecSpec, parse_manifest
from server.store.contents import Contents
from server.store.external_data import check_external_data
from server.store.labels import check_labels, read_labels
from server.store.paths import inside_file, read_text_file

_CHUNK_BYTES = 1024**2


def open_signed(store: Path, model: str, directory: Path, max_bytes: int) -> Contents:
    """Verifies a version folder with a manifest; `directory` is its real path.

    Raises ArtifactCorrupt, with the reason, wherever folder and manifest differ.
    """
    manifest = parse_manifest(read_text_file(store, directory / MANIFEST_FILE))
    if manifest.name != model:
        raise ArtifactCorrupt(f"{MANIFEST_FILE} is of model {manifest.name}, but its folder is {model}")
    _check_listed(manifest)
    _check_sizes(store, directory, manifest, max_bytes)
    for name, digest in manifest.files.items():
        _check_digest(inside_file(store, directory / name), name, digest)
    for graph in manifest.graphs:
        check_external_data(store, directory, graph.file, set(manifest.files))
    labels = read_labels(read_text_file(store, directory / manifest.labels)) if manifest.labels else ()
    check_labels(manifest, labels)
    return Contents(manifest, labels, directory)


def _check_listed(manifest: Manifest) -> None:
    """A file that the server will open must be one whose digest is known."""
    needed = [graph.file for graph in manifest.graphs]
    needed += [name for name in (manifest.labels, manifest.golden) if name]
    if isinstance(manifest.codec, TextCodecSpec):
        needed.append(manifest.codec.tokenizer)
    missing = sorted(set(needed) - set(manifest.files))
    if missing:
        raise ArtifactCorrupt(f"{MANIFEST_FILE} uses {', '.join(missing)} without listing a digest")


def _check_sizes(store: Path, directory: Path, manifest: Manifest, max_bytes: int) -> None:
    total = sum(digest.bytes for digest in manifest.files.values())
    if total > max_bytes:
        raise ArtifactCorrupt(f"the bundle has {total} bytes, more than the {max_bytes} that are allowed")
    for name, digest in manifest.files.items():
        size = inside_file(store, directory / name).stat().st_size
        if size != digest.bytes:
            raise ArtifactCorrupt(f"{name} has {size} bytes where {MANIFEST_FILE} says {digest.bytes}")


def _check_digest(path: Path, name: str, digest: FileDigest) -> None:
    hashed = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                hashed.update(chunk)
    except OSError as error:
        raise ArtifactCorrupt(f"{name} cannot be read") from error
    if hashed.hexdigest() != digest.sha256:
        raise ArtifactCorrupt(f"{name} differs from the digest in {MANIFEST_FILE}")
