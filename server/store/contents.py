"""What a version folder turned out to hold."""

from dataclasses import dataclass
from pathlib import Path

from server.manifest import Manifest


@dataclass(frozen=True)
class Contents:
    """The manifest, read or made, and what goes with it."""

    manifest: Manifest
    labels: tuple[str, ...]
    """Class names by index; empty where there are none."""
    graph_directory: Path
    """Where the graphs lie."""
