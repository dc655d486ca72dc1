from pathlib import Path

import pytest
import typer

from models.cli.run_folder import bundle_of, check_alias, checkpoint_of, one_line_errors
from models.export.failure import GraphInvalid
from server.errors import VersionNotFound


def test_a_models_default_run_is_its_name_under_runs():
    assert checkpoint_of("areas", None) == Path("runs/areas/checkpoint")
    assert bundle_of("areas", Path("elsewhere")) == Path("elsewhere/bundle")


@pytest.mark.parametrize("error", [GraphInvalid("what was wrong"), VersionNotFound("what was wrong")])
def test_expected_errors_become_one_line_and_exit_1(error, capsys):
    with pytest.raises(typer.Exit) as exited, one_line_errors():
        raise error
    assert exited.value.exit_code == 1
    assert capsys.readouterr().err == "error: what was wrong\n"


def test_bugs_keep_their_traceback():
    with pytest.raises(ZeroDivisionError), one_line_errors():
        raise ZeroDivisionError


def test_alias_is_checked_as_the_store_checks_it():
    assert check_alias("stable-2") == "stable-2"
    assert check_alias(None) is None
    with pytest.raises(typer.BadParameter):
        check_alias("2nd")
