import json

import numpy as np
from attendant.attention import AttentionMap, Axis, Cells, Token, Tokens
from attendant.classify import Classification, ClassifyResult, Label
from attendant.cli.rendering import as_json, print_result, printable
from attendant.common import ModelVersion, Timing, TruncationReport


def result(key: Axis, truncation: TruncationReport | None = None) -> ClassifyResult:
    timing = Timing(0.001, 0.002, 0.004, 1)
    weights = np.array([[0.25, 0.75]], np.float32)
    attention = AttentionMap("encoder", "mean", (), (), None, key, weights)
    each = Classification((Label("numpy", 4, 0.5),), (attention,), truncation, timing)
    return ClassifyResult((each,), ModelVersion("areas", 3, "stable"), timing, "id")


TEXT = Tokens((Token("mean", 0, 4), Token("value", 5, 10)))


def test_json_names_words_of_a_text_and_cells_of_an_image():
    (text,) = as_json(result(TEXT), ["mean value"], ["mean value"])["results"]
    assert [(word["word"], word["weight"]) for word in text["attention"][0]["words"]] == [
        ("mean", 0.25),
        ("value", 0.75),
    ]
    (image,) = as_json(result(Cells(1, 2)), ["digit.png"], [None])["results"]
    assert image["attention"][0]["cells"] == [[0.25, 0.75]]
    (unnamed,) = as_json(result(None), ["digit.png"], [None])["results"]
    assert unnamed["attention"][0]["keys"] == [0.25, 0.75]


def test_json_can_be_written():
    written = json.loads(json.dumps(as_json(result(TEXT), ["mean value"], ["mean value"])))
    assert written["model"] == {"name": "areas", "version": 3, "alias": "stable"}
    assert written["results"][0]["labels"] == [{"name": "numpy", "index": 4, "score": 0.5}]


def test_table_shows_labels_and_the_heaviest_words_first(capsys):
    print_result(result(TEXT), ["mean value"], ["mean value"], attention=True)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("areas version 3 (stable) · 4.0 ms")
    assert [line.split()[0] for line in lines if "█" in line] == ["numpy", "value", "mean"]


def test_words_that_were_not_looked_at_are_not_listed(capsys):
    print_result(result(TEXT), ["mean value lost"], ["mean value lost"], attention=True)
    assert "value" in (out := capsys.readouterr().out)
    assert "lost  " not in out


def test_table_says_what_was_cut_off(capsys):
    print_result(result(TEXT, TruncationReport(True, 8, 9)), ["mean value"], ["mean value"], attention=False)
    out = capsys.readouterr().out
    assert "read 8 of 9 tokens" in out
    assert "looked at" not in out


def test_terminal_codes_in_a_name_are_not_printed():
    assert printable("\x1b[31mred\n") == " [31mred "


def test_markup_in_a_text_is_shown_as_it_is(capsys):
    print_result(result(TEXT), ["[bold]mean[/x]"], ["mean value"], attention=False)
    assert "[bold]mean[/x]" in capsys.readouterr().out
