"""Writes an explanation into a folder."""

from pathlib import Path

from models.explain.explanation import Explanation
from models.explain.failure import FolderUnwritable
from models.explain.figure import draw_ablation, draw_relevance, draw_weights
from models.explain.page import page_html

PAGE_FILE = "explanation.html"


def write(explanation: Explanation, folder: Path) -> list[Path]:
    """Writes the page and, for each mechanism, up to three pictures; returns what was written, the page last.

    Pictures of an earlier explanation that this one does not have are removed: they would be taken for its own.
    Raises FolderUnwritable.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        written = _write_pictures(explanation, folder)
        page = folder / PAGE_FILE
        page.write_text(page_html(explanation), encoding="utf-8")
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise FolderUnwritable(f"{folder} cannot be written ({reason.lower()})") from error
    return [*written, page]


def picture_name(what: str, mechanism: str, alone: bool) -> str:
    """`weights.png`, and `weights-tokens.png` where the model has more than one attention."""
    if alone:
        return f"{what}.png"
    safe = "".join(character if character.isalnum() or character in "-_" else "-" for character in mechanism)
    return f"{what}-{safe}.png"


def _write_pictures(explanation: Explanation, folder: Path) -> list[Path]:
    written = []
    alone = len(explanation.mechanisms) == 1
    for mechanism in explanation.mechanisms:
        for what, draw in (("weights", draw_weights), ("relevance", draw_relevance), ("ablation", draw_ablation)):
            path = folder / picture_name(what, mechanism.name, alone)
            if draw(explanation, mechanism, path):
                written.append(path)
            else:
                path.unlink(missing_ok=True)
    return written
