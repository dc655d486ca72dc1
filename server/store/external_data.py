"""The files that an ONNX graph points at."""

from pathlib import Path

from server.errors import ArtifactCorrupt
from server.manifest import MANIFEST_FILE
from server.runtime.onnx_file import parse_onnx, read_onnx
from server.store.paths import inside_file


def check_external_data(store: Path, directory: Path, graph: str, listed: set[str] | None) -> int:
    """Checks where an ONNX file keeps its weights, and returns the opset.

    Every location must be the plain name of a file beside the graph that is `listed` (None: any that lies in the
    store). The runtime follows whatever stands there, so it is checked before the runtime sees the file.

    Raises ArtifactCorrupt if the file is not ONNX or one of its locations is anything else.
    """
    onnx = parse_onnx(read_onnx(inside_file(store, directory / graph)))
    for location in sorted(onnx.external_files):
        if location in (".", "..") or "/" in location or "\\" in location or "\0" in location:
            raise ArtifactCorrupt(f"{graph} keeps weights at {location!r}, which is no plain file name in its bundle")
        if listed is not None and location not in listed:
            raise ArtifactCorrupt(f"{graph} keeps weights in {location!r}, which {MANIFEST_FILE} does not list")
        inside_file(store, directory / location)
    return onnx.opset
