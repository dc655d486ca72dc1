"""`docs/bundle.md` describes every field of the manifest, and none that does not exist."""

import re
from pathlib import Path

import pytest

from models.export.graph import GRAPH_FILE
from models.export.packed import PACKED_FILES
from models.export.publish import DRAFT_PREFIX
from models.export.quantise_candidate import INT8_WEIGHTS_FILE, int8_file
from models.export.weights import EMBEDDED_WEIGHTS_MAX_BYTES, WEIGHTS_FILE
from server import manifest, packed
from server.manifest import Frozen

PAGE = Path(__file__).parents[2] / "docs" / "bundle.md"

SECTIONS = {
    "Manifest": manifest.Manifest,
    "Graph": manifest.GraphSpec,
    "Input": manifest.InputSpec,
    "Output": manifest.OutputSpec,
    "Row axis": manifest.RowAxis,
    "Length axis": manifest.LengthAxis,
    "Fixed axis": manifest.FixedAxis,
    "Free axis": manifest.FreeAxis,
    "State": manifest.StateSpec,
    "Generation": manifest.GenerationSpec,
    "Attention": manifest.AttentionSpec,
    "Token axis": manifest.TokenAxis,
    "Cell axis": manifest.CellAxis,
    "Text codec": manifest.TextCodecSpec,
    "Image codec": manifest.ImageCodecSpec,
    "Batching": manifest.BatchingSpec,
    "Parity report": manifest.ParityReport,
    "Packed parity": manifest.PackedParity,
    "Quantisation report": manifest.QuantisationReport,
    "Quality drop": manifest.QualityDrop,
    "Output parity": manifest.OutputParity,
    "Quality report": manifest.QualityReport,
    "Baseline": manifest.Baseline,
    "Provenance": manifest.Provenance,
    "Data provenance": manifest.DataProvenance,
    "File digest": manifest.FileDigest,
}


def tables() -> dict[str, list[str]]:
    """The first column of the table under each heading."""
    found: dict[str, list[str]] = {}
    heading = ""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if match := re.match(r"#{2,3} (.+)", line):
            heading = match[1]
        elif match := re.match(r"\| `(\w+)` \|", line):
            found.setdefault(heading, []).append(match[1])
    return found


def test_every_type_of_the_manifest_has_a_section():
    types = {cls for cls in vars(manifest).values() if isinstance(cls, type) and issubclass(cls, Frozen)} - {Frozen}
    assert set(SECTIONS.values()) == types
    assert tables().keys() == SECTIONS.keys()


@pytest.mark.parametrize("heading", SECTIONS)
def test_section_has_every_field_once_in_the_manifests_order(heading):
    assert tables()[heading] == list(SECTIONS[heading].model_fields)


def test_choices_of_a_field_stand_in_its_row():
    rows = PAGE.read_text(encoding="utf-8")
    for choices in (
        ("run", "encode", "step"),
        ("rows", *packed.PACKED_LAYOUTS),
        ("fp32", "fp16", "bf16", "int8"),
        manifest.OutputRole.__args__,
        ("bilinear", "bicubic", "box", "nearest"),
    ):
        assert ", ".join(f"`{choice}`" for choice in choices) in rows


def test_names_of_files_are_those_that_are_written():
    page = PAGE.read_text(encoding="utf-8")
    for name in (
        GRAPH_FILE,
        *PACKED_FILES.values(),
        WEIGHTS_FILE,
        INT8_WEIGHTS_FILE,
        *(int8_file(file) for file in (GRAPH_FILE, *PACKED_FILES.values())),
        manifest.MANIFEST_FILE,
        manifest.GOLDEN_FILE,
        manifest.CHECKPOINT_FILE,
        manifest.ALIASES_FILE,
        DRAFT_PREFIX,
        f"{EMBEDDED_WEIGHTS_MAX_BYTES // 1024**2} MiB",
    ):
        assert name in page


def test_every_input_of_a_packed_graph_is_described():
    page = PAGE.read_text(encoding="utf-8")
    for layout in packed.PACKED_LAYOUTS:
        for spec in packed.packed_inputs((), layout):
            assert f"`{spec.name}` | {spec.datatype} [{', '.join(spec.axes)}]" in page
