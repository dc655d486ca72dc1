import pytest
from typer.testing import CliRunner

from models.__main__ import app
from tests.support.bundles import publish_tiny, tiny_candidate
from tests.support.graphs import doubling_graph, write_version


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explained")
    for model in ("areas", "digits"):
        publish_tiny(folder, model, alias="stable")
    write_version(folder, "doubling", 1, doubling_graph())
    return folder


@pytest.fixture
def explain(store, tmp_path):
    def run(*arguments: object, code: int = 0) -> str:
        given = ["explain", *map(str, arguments), "--store", str(store), "--out", str(tmp_path / "out")]
        result = CliRunner().invoke(app, given, catch_exceptions=False)
        assert result.exit_code == code, result.output
        return result.output

    return run


@pytest.fixture
def image():
    return tiny_candidate("digits").parent / "checkpoint" / "samples" / "0.png"


def test_text_is_explained_with_its_findings_first(explain, tmp_path):
    lines = explain("areas", "--input", "a sorted matrix", "--alias", "stable", "--label", "class 2").splitlines()
    assert lines[0].startswith("areas version 1: class 2 (")
    assert lines[1].startswith("tokens: strongest head is layer ")
    assert any(line.startswith("tokens: most by weights × gradient for class 2: ") for line in lines)
    assert any("agree" in line for line in lines)
    written = [line.removeprefix("wrote ") for line in lines if line.startswith("wrote ")]
    assert written == [
        str(tmp_path / "out" / name) for name in ("weights.png", "relevance.png", "ablation.png", "explanation.html")
    ]


def test_image_is_explained(explain, image):
    assert explain("digits", "--input", image, "--version", 1).startswith("digits version 1: class ")


def test_one_head_of_one_layer_is_shown(explain):
    assert "strongest head is layer 1, head 0" in explain("areas", "--input", "a", "--layer", 1, "--head", 0)


def test_truncation_is_the_callers_choice(explain):
    explain("areas", "--input", "a " * 70, code=1)
    assert "cut to the 64" in explain("areas", "--input", "a " * 70, "--truncation", "end")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nobody", "--input", "a"), "holds no model nobody"),
        (("areas", "--input", "a", "--version", "7"), "no version 7; it has 1"),
        (("areas", "--input", "a", "--alias", "canary"), "no alias canary; it has stable"),
        (("areas", "--input", "a", "--label", "poetry"), "no label 'poetry'; the model has class 0"),
        (("areas", "--input", "a", "--layer", "2"), "its layers are 0 to 1"),
        (("areas", "--input", "a", "--head", "2"), "no head 2"),
        (("areas", "--input", ""), "the text is empty"),
        (("areas", "--input", "picture.png"), "names an image"),
        (("digits", "--input", "a seven"), "takes images"),
        (("doubling", "--input", "a"), "no attention outputs"),
    ],
)
def test_bad_input_is_one_line_and_exit_1_and_nothing_is_written(explain, tmp_path, arguments, message):
    output = explain(*arguments, code=1)
    assert output.startswith("error: ")
    assert message in output
    assert output.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("areas",),
        ("areas", "--input", "a", "--version", "1", "--alias", "stable"),
        ("areas", "--input", "a", "--version", "0"),
        ("areas", "--input", "a", "--alias", "9lives"),
        ("areas", "--input", "a", "--truncation", "middle"),
    ],
)
def test_contradictory_or_malformed_arguments_are_usage_errors(explain, arguments):
    assert "Usage" in explain(*arguments, code=2)
