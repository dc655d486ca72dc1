import re
import subprocess
import sys

import pytest

from docs.mechanism_table import BEGIN, END, README, TITLES, render, updated
from models.attention.catalogue import MECHANISMS


def test_the_table_in_the_readme_is_up_to_date():
    readme = README.read_text(encoding="utf-8")
    assert readme == updated(readme)


def test_the_check_passes_as_a_command():
    done = subprocess.run([sys.executable, "-m", "docs.mechanism_table", "--check"], cwd=README.parent)
    assert done.returncode == 0


def test_every_mechanism_has_one_row_of_four_cells_that_links_to_its_page():
    rows = [line for line in render().splitlines() if line.startswith("| [")]
    assert len(rows) == len(MECHANISMS)
    for entry in MECHANISMS:
        (row,) = [row for row in rows if row.startswith(f"| [{entry.name}](docs/mechanisms/{entry.name}.md) |")]
        assert len(re.findall(r"(?<!\\)\|", row)) == 5


def test_every_family_has_a_fold_that_names_its_mechanisms():
    for family, title in TITLES.items():
        names = ", ".join(entry.name for entry in MECHANISMS if entry.family == family)
        assert f"<b>{title}</b>: {names}</summary>" in render()


def test_what_stands_around_the_table_stays():
    assert updated(f"before\n{BEGIN}\nold\n{END}\nafter\n") == f"before\n{render()}\nafter\n"


@pytest.mark.parametrize("readme", ["", BEGIN, END, f"{END}{BEGIN}", f"{BEGIN}{END}{BEGIN}"])
def test_readme_without_its_markers_is_refused(readme):
    with pytest.raises(ValueError, match="each once"):
        updated(readme)
