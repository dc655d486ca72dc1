import pytest
from typer.testing import CliRunner

from models.__main__ import app
from tests.support.bundles import tiny_candidate


@pytest.mark.parametrize("command", ["export", "verify"])
@pytest.mark.parametrize(
    ("model", "run", "message"),
    [
        ("nobody", ".", "'nobody' is not a registered model; those are areas, attend"),
        ("digits", "nowhere", "no checkpoint in"),
        ("areas", None, "is a checkpoint of digits, not of areas"),
        ("attend", None, "is a checkpoint of digits, not of attend"),
    ],
)
def test_run_that_does_not_fit_is_one_line_and_exit_1(command, model, run, message, tmp_path):
    folder = tiny_candidate("digits").parent if run is None else tmp_path / run
    result = CliRunner().invoke(app, [command, model, "--run", str(folder)], catch_exceptions=False)
    assert result.exit_code == 1
    assert message in result.output
    assert result.output.count("\n") == 1


def test_model_without_weights_goes_to_the_store_without_a_training(tmp_path):
    run, store = str(tmp_path / "run"), str(tmp_path / "store")

    def answer(*arguments: str) -> str:
        return CliRunner().invoke(app, [*arguments, "--run", run], catch_exceptions=False).output

    assert "begin with `python -m models export attend`" in answer("verify", "attend")
    assert "context, weights" in answer("export", "attend")
    assert "may be published" in answer("verify", "attend")
    assert "published attend version 1" in answer("publish", "attend", "--store", store)
    trained = CliRunner().invoke(app, ["train", "attend", "--out", run])
    assert (trained.exit_code, trained.output.count("\n")) == (1, 1)
    assert "has no weights to train" in trained.output
