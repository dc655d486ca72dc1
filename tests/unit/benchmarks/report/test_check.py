import json

import pytest

from benchmarks.__main__ import FAILED, OK, main
from benchmarks.load.measured import Compared
from tests.unit.benchmarks.report.results_by_hand import cell, headline, latencies, results, run


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


def hide_low_cell(document):
    document["ratios"]["lowest"]["floor"] = 2.0


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
        hide_low_cell,
        invent_wrong_answer,
    ],
)
def test_tampered_file_fails(file, change, capsys):
    tamper(file, change)

    assert main(["check", str(file)]) == FAILED
    said = capsys.readouterr().err
    assert any(words in said for words in ("is what", "otherwise than", "others than"))


def test_file_that_is_none_fails_with_the_reason(tmp_path, capsys):
    assert main(["check", str(tmp_path / "nothing.json")]) == FAILED
    assert "cannot be read" in capsys.readouterr().err


def test_table_shows_ratios_and_what_was_not_reached(file, capsys):
    tamper(file, lambda document: document["ratios"]["lowest"].update(at_least=9.0))

    assert main(["table", str(file)]) == OK
    assert "| `lowest` | a over b | 1.5" in (shown := capsys.readouterr().out)
    assert "(not reached)" in shown
    assert "not told" in shown


def test_table_names_the_cells_below_the_floor(tmp_path, capsys):
    pairs = [(run(300 + step), run(400)) for step in range(6)]
    results(cell("x", *pairs), lowest=headline("x", floor=0.95, at_least=0.5)).write(tmp_path / "r.json")

    assert main(["table", str(tmp_path / "r.json")]) == OK
    assert "(not reached)" in (shown := capsys.readouterr().out)
    assert "below 0.95: `x`" in shown


def test_table_says_why_where_a_note_lies_beside_the_file(file, capsys):
    file.with_suffix(".notes.json").write_text('{"lowest": "the profile shows the parser | and the copy"}')

    assert main(["table", str(file)]) == OK
    assert "| the profile shows the parser   and the copy |" in capsys.readouterr().out


def test_table_takes_notes_from_another_file(file, tmp_path, capsys):
    (tmp_path / "other.json").write_text('{"lowest": "the queue"}')

    assert main(["table", str(file), "--notes", str(tmp_path / "other.json")]) == OK
    assert "| the queue |" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "reason"),
    [('{"highest": "no such"}', "no ratios of the results"), ("[]", "a JSON object"), (None, "cannot be read")],
)
def test_notes_that_do_not_fit_are_refused(file, tmp_path, capsys, content, reason):
    if content is not None:
        (tmp_path / "notes.json").write_text(content)

    assert main(["table", str(file), "--notes", str(tmp_path / "notes.json")]) == FAILED
    assert reason in capsys.readouterr().err


def test_table_tells_how_soon_calls_were_refused(tmp_path, capsys):
    pairs = [(run(300, errors={"refused 8": 2}, refusals=latencies(0.0005)), run(200))] * 6
    refusing = cell("x", *pairs).model_copy(update={"may_refuse": True})
    results(refusing, lowest=headline("x")).write(tmp_path / "r.json")

    assert main(["table", str(tmp_path / "r.json")]) == OK
    assert "told so within 0.50 ms, 99% in 0.50 ms" in capsys.readouterr().out


def test_table_tells_how_alike_texts_are(tmp_path, capsys):
    alike = Compared(texts=2, tokens=40, tokens_alike=39, parted_at_tie=1, unequal=0)
    pairs = [(run(300, compared=alike), run(200, compared=alike.model_copy(update={"tokens_alike": None})))] * 6
    results(cell("x", *pairs), lowest=headline("x")).write(tmp_path / "r.json")

    assert main(["table", str(tmp_path / "r.json")]) == OK
    assert "| 97.50%, lengths alone |" in capsys.readouterr().out


def test_plot_is_drawn_beside_the_file(file):
    assert main(["plot", str(file)]) == OK
    assert file.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
