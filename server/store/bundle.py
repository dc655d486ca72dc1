"""Opening one version: everything about it is checked before a runtime or a codec touches it."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from server.errors import ArtifactCorrupt
from server.manifest import MANIFEST_FILE, MODEL_NAME_PATTERN, GraphSpec, Manifest
from server.store.paths import inside
from server.store.signed import open_signed
from server.store.unsigned import open_unsigned


@dataclass(frozen=True)
class Bundle:
    """One version of one model, ready to be loaded."""

    model: str
    version: int
    directory: Path
    """Where the codec's files lie; a real path inside the store."""
    manifest: Manifest
    labels: tuple[str, ...]
    """Class names by index; empty where the model has none."""
    verified: bool
    """Every file had the digest that the manifest promises; False for a folder without a manifest."""
    graph_directory: Path
    """Where the graphs lie; the same as `directory` but for exports that keep them in a folder of their own."""

    def graph_path(self, graph: GraphSpec) -> Path:
        """The file of a graph."""
        return self.graph_directory / graph.file

    def sha256(self, file: str) -> str | None:
        """The digest that a file was verified against; None where there is none."""
        digest = self.manifest.files.get(file)
        return digest.sha256 if digest else None


def open_bundle(store: Path, model: str, version: int, *, max_bytes: int) -> Bundle:
    """Verifies `<store>/<model>/<version>/`; a folder without a manifest is taken as far as its graph explains itself.

    Blocks: it reads every file.

    Raises ArtifactCorrupt, with the reason, if the version is missing, reaches outside the store, is larger than
    `max_bytes`, or differs from its manifest.
    """
    if not re.fullmatch(MODEL_NAME_PATTERN, model) or version < 1:
        raise ArtifactCorrupt(f"{model!r} version {version} cannot be the name of a bundle")
    try:
        directory = inside(store, store / model / str(version))
        # A manifest that is a broken link is still one: the folder must not pass as unsigned.
        if os.path.lexists(directory / MANIFEST_FILE):
            contents, verified = open_signed(store, model, directory, max_bytes), True
        else:
            contents, verified = open_unsigned(store, model, directory, max_bytes), False
    except OSError as error:
        raise ArtifactCorrupt("the folder changed or became unreadable while it was opened") from error
    return Bundle(
        model=model,
        version=version,
        directory=directory,
        manifest=contents.manifest,
        labels=contents.labels,
        verified=verified,
        graph_directory=contents.graph_directory,
    )
