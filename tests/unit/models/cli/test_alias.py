import pytest
from typer.testing import CliRunner

from models.__main__ import app
from server.store.aliases import read_aliases


@pytest.fixture
def store(tmp_path):
    for version in ("1", "2"):
        (tmp_path / "digits" / version).mkdir(parents=True)
    return tmp_path


@pytest.fixture
def alias(store):
    def run(*arguments: str, code: int = 0) -> str:
        result = CliRunner().invoke(app, ["alias", *arguments, "--store", str(store)], catch_exceptions=False)
        assert result.exit_code == code, result.output
        return result.output

    return run


def version_of(store, name):
    return read_aliases(store / "digits")[name].version


def test_alias_moves_and_moves_back_in_one_step_each(alias, store):
    alias("digits", "stable", "1")
    assert "digits: stable -> 2 (was 1)" in alias("digits", "stable", "2")
    assert version_of(store, "stable") == 2
    assert "digits: stable -> 1" in alias("digits", "stable", "--back")
    assert version_of(store, "stable") == 1


def test_without_a_name_all_aliases_are_shown(alias):
    alias("digits", "stable", "2")
    alias("digits", "canary", "1")
    assert alias("digits").splitlines() == ["canary -> 1", "stable -> 2"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("digits", "stable", "3"), "no version 3"),
        (("digits", "stable", "--back"), "no alias stable"),
        (("nobody", "stable", "1"), "holds no model nobody"),
        (("nobody",), "holds no model nobody"),
    ],
)
def test_what_does_not_exist_is_one_line_and_exit_1(alias, arguments, message):
    output = alias(*arguments, code=1)
    assert output.startswith("error: ")
    assert message in output
    assert output.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("digits", "stable"),
        ("digits", "stable", "1", "--back"),
        ("digits", "--back"),
        ("digits", "9lives", "1"),
        ("digits", "../stable", "1"),
        ("digits", "stable", "0"),
    ],
)
def test_contradictory_or_malformed_arguments_are_usage_errors_and_move_nothing(alias, store, arguments):
    assert "Usage" in alias(*arguments, code=2)
    assert read_aliases(store / "digits") == {}
