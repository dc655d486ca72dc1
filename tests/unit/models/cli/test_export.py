import pytest
from typer.testing import CliRunner

from models.__main__ import app
from tests.support.bundles import tiny_candidate


@pytest.mark.parametrize("command", ["export", "verify"])
@pytest.mark.parametrize(
    ("model", "run", "message"),
    [
        ("nobody", ".", "'nobody' is not a registered model; those are areas, digits"),
        ("digits", "nowhere", "no checkpoint in"),
        ("areas", None, "is a checkpoint of digits, not of areas"),
    ],
)
def test_run_that_does_not_fit_is_one_line_and_exit_1(command, model, run, message, tmp_path):
    folder = tiny_candidate("digits").parent if run is None else tmp_path / run
    result = CliRunner().invoke(app, [command, model, "--run", str(folder)], catch_exceptions=False)
    assert result.exit_code == 1
    assert message in result.output
    assert result.output.count("\n") == 1
