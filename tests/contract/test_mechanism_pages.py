import re
from pathlib import Path

import pytest
from PIL import Image

from examples.mechanism_figures.figure import CAPTION_KEY
from models.attention.catalogue import MECHANISMS

PAGES = Path(__file__).parents[2] / "docs" / "mechanisms"
INDEX = PAGES / "README.md"
LARGEST_BYTES = 60_000

every_mechanism = pytest.mark.parametrize("entry", MECHANISMS, ids=[entry.name for entry in MECHANISMS])


def page(entry):
    return (PAGES / f"{entry.name}.md").read_text(encoding="utf-8")


def image(entry):
    return PAGES / "images" / f"{entry.name}.png"


@every_mechanism
def test_page_says_what_the_catalogue_says(entry):
    text = page(entry)
    assert text.startswith(f"# {entry.title}\n")
    assert f"```\n{entry.formula}\n```" in text
    assert f"**Source**: {entry.source}." in text
    assert f"\n> {entry.cost}\n" in text


@every_mechanism
def test_page_shows_its_picture_with_its_caption_and_the_command_that_made_it(entry):
    text = page(entry)
    assert f"](images/{entry.name}.png)" in text
    assert f"\npython -m examples.mechanism_figures {entry.name}\n" in text
    with Image.open(image(entry)) as picture:
        assert picture.text[CAPTION_KEY] in text
        assert picture.width == 900
    assert image(entry).stat().st_size < LARGEST_BYTES


@every_mechanism
def test_snippet_of_a_page_runs(entry):
    (snippet,) = re.findall(r"```python\n(.*?)```", page(entry), flags=re.DOTALL)
    assert "assert " in snippet
    exec(compile(snippet, f"{entry.name}.md", "exec"), {})  # noqa: S102 - our own page


@every_mechanism
def test_index_lists_the_mechanism_with_its_formula(entry):
    formula = entry.formula.replace("|", r"\|")
    assert f"| [{entry.name}]({entry.name}.md) | {entry.title} | `{formula}` |" in INDEX.read_text(encoding="utf-8")


def test_no_page_and_no_picture_is_without_a_mechanism():
    names = {entry.name for entry in MECHANISMS}
    assert {file.stem for file in PAGES.glob("*.md")} - {INDEX.stem} == names
    assert {file.stem for file in (PAGES / "images").iterdir()} == names


@pytest.mark.parametrize("file", sorted(PAGES.glob("*.md")), ids=lambda file: file.stem)
def test_every_link_leads_somewhere(file):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", file.read_text(encoding="utf-8")):
        assert (PAGES / target).exists(), target


def test_pages_name_the_served_model_where_the_mechanism_is_served_by_itself():
    models = (PAGES.parent / "models.md").read_text(encoding="utf-8")
    served = set(re.findall(r"^\| `(attend[a-z-]*)` \|", models, flags=re.MULTILINE))
    named = {name for entry in MECHANISMS for name in re.findall(r"Served as the model \[`([a-z-]+)`\]", page(entry))}
    assert named == served
