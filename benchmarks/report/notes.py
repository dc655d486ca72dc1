"""Why a ratio is what it is: words that a person writes beside a results file, by the ratio's id.

They stand in a file of their own, `<results>.notes.json`: they come from a profile that is made after the run, and what
was measured is not edited.
"""

from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from benchmarks.report.results import Results, ResultsUnreadable

_NOTES = TypeAdapter(dict[str, str])


def notes_beside(results_file: Path) -> Path:
    """Where the notes of a results file are looked for."""
    return results_file.with_suffix(".notes.json")


def read_notes(path: Path, results: Results) -> dict[str, str]:
    """The notes in a file: `{"over_ceiling": "why"}`. Raises ResultsUnreadable."""
    try:
        notes = _NOTES.validate_json(path.read_bytes())
    except OSError as error:
        raise ResultsUnreadable(f"{path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        raise ResultsUnreadable(f"{path} holds no notes; a JSON object from ratio to text is expected") from error
    if unknown := notes.keys() - results.ratios.keys():
        raise ResultsUnreadable(f"{path} has notes on {', '.join(sorted(unknown))}, which are no ratios of the results")
    return notes
