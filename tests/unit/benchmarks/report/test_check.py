import json

import pytest

from benchmarks.__main__ import FAILED, OK, main
from tests.unit.benchmarks.report.results_by_hand import cell, headline, results, run


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "results.json"
    pairs = [(run(300 + step), run(200 - step)) for step in range(6)]
    results(cell("x", *pairs), lowest=headline("x")).write(path)
    return path


def tamper(file, change):
    document = json.loads(file.read_text())
    change(document)
    file.write_text(json.dumps(document))


def test_untouched_file_passes(file, capsys):
    assert main(["check", str(file)]) == OK
    assert "1 ratios over 1 cells" in capsys.readouterr().out


def raise_headline(document):
    document["ratios"]["lowest"]["ratio"]["value"] *= 1.01


def raise_interval(document):
    document["ratios"]["lowest"]["ratio"]["low"] *= 1.01


def raise_cell(document):
    document["cells"][0]["ratio"]["value"] *= 1.01


def raise_repetition(document):
    for pair in document["cells"][0]["pairs"]:
        pair["a"]["useful_tokens"] += 10


def drop_repetition(document):
    document["cells"][0]["pairs"].pop()


def hide_wrong_answer(document):
    document["ratios"]["lowest"]["left_out"] = {"x": "not every answer was right"}


def invent_wrong_answer(document):
    document["cells"][0]["pairs"][0]["b"]["wrong"] = 3


@pytest.mark.parametrize(
    "change",
    [
        raise_headline,
        raise_interval,
        raise_cell,
        raise_repetition,
        drop_repetition,
        hide_wrong_answer,
        invent_wrong_answer,
    ],
)
def test_tampered_file_fails(file, change, capsys):
    tamper(file, change)

    assert main(["check", str(file)]) == FAILED
    assert "is what" in (said := capsys.readouterr().err) or "otherwise than" in said


def test_file_that_is_none_fails_with_the_reason(tmp_path, capsys):
    assert main(["check", str(tmp_path / "nothing.json")]) == FAILED
    assert "cannot be read" in capsys.readouterr().err


def test_table_shows_ratios_and_what_was_not_reached(file, capsys):
    tamper(file, lambda document: document["ratios"]["lowest"].update(at_least=9.0))

    assert main(["table", str(file)]) == OK
    assert "| `lowest` | a over b | 1.5" in (shown := capsys.readouterr().out)
    assert "(not reached)" in shown


def test_plot_is_drawn_beside_the_file(file):
    assert main(["plot", str(file)]) == OK
    assert file.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
