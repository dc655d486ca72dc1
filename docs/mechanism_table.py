"""Writes the table of mechanisms into `README.md` from the catalogue: `python -m docs.mechanism_table`.

With `--check` it writes nothing and fails where the table is not what the catalogue says.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from models.attention.catalogue import MECHANISMS, Catalogued, Family

README = Path(__file__).parent.parent / "README.md"
BEGIN = "<!-- mechanisms: written by python -m docs.mechanism_table -->"
END = "<!-- end of mechanisms -->"

TITLES: dict[Family, str] = {
    "scores": "Scores",
    "heads": "Heads",
    "positions": "Positions",
    "long inputs": "Long inputs",
    "recurrent": "Recurrent networks",
    "blocks": "Transformer blocks",
    "queries": "Learned queries and pointers",
    "images": "Images",
}


def render() -> str:
    """The table, between its markers: a fold for each family, whose summary names the mechanisms in it."""
    return "\n".join([BEGIN, *_folds(), END])


def updated(readme: str) -> str:
    """The README with the table as it should be. Raises ValueError unless both markers stand there once, in order."""
    if readme.count(BEGIN) != 1 or readme.count(END) != 1 or readme.index(END) < readme.index(BEGIN):
        raise ValueError(f"the README needs {BEGIN!r} and, after it, {END!r}, each once")
    return readme[: readme.index(BEGIN)] + render() + readme[readme.index(END) + len(END) :]


def _folds() -> Iterator[str]:
    for family in get_args(Family):
        entries = [entry for entry in MECHANISMS if entry.family == family]
        names = ", ".join(entry.name for entry in entries)
        yield f"<details><summary><b>{TITLES[family]}</b>: {names}</summary>\n"
        yield "| mechanism | formula | source | cost |\n| --- | --- | --- | --- |"
        yield from map(_row, entries)
        yield "\n</details>"


def _row(entry: Catalogued) -> str:
    formula = entry.formula.replace("|", r"\|")  # a cell ends at a bar, in code too
    return f"| [{entry.name}](docs/mechanisms/{entry.name}.md) | `{formula}` | {entry.source} | {entry.cost} |"


def main() -> int:
    """Writes the README, or compares it; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only say whether the table is up to date")
    check: bool = parser.parse_args().check
    readme = README.read_text(encoding="utf-8")
    wanted = updated(readme)
    if not check:
        README.write_text(wanted, encoding="utf-8")
    elif readme != wanted:
        print("README.md: the table of mechanisms is out of date; run python -m docs.mechanism_table", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
