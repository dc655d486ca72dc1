"""Reading and writing the manifest of a bundle that is still in the making."""

from pathlib import Path

from models.export.failure import CandidateUnusable
from server.errors import ArtifactCorrupt
from server.manifest import MANIFEST_FILE, Manifest, parse_manifest


def read_candidate(bundle: Path) -> Manifest:
    """The manifest of a candidate.

    Raises CandidateUnusable if there is none, or none that this version of the schema can read.
    """
    try:
        return parse_manifest((bundle / MANIFEST_FILE).read_bytes())
    except OSError as error:
        raise CandidateUnusable(
            f"no candidate bundle in {bundle}: make one first, with `python -m models export <model>`"
        ) from error
    except ArtifactCorrupt as error:
        raise CandidateUnusable(f"{bundle}: {error.message}") from error


def write_manifest(bundle: Path, manifest: Manifest) -> None:
    """Writes `manifest.json` into a bundle folder."""
    (bundle / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")
