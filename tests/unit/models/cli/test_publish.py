import shutil

import pytest
from typer.testing import CliRunner

from models.__main__ import app
from server.store.aliases import read_aliases
from tests.support.bundles import tiny_candidate


@pytest.fixture
def run_folder(tmp_path):
    shutil.copytree(tiny_candidate("digits"), tmp_path / "run" / "bundle")
    return tmp_path / "run"


def publish(*arguments: object, code: int = 0) -> str:
    arguments = ("publish", *map(str, arguments))
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.output


def test_alias_moves_to_the_version_just_published(run_folder, tmp_path):
    store = tmp_path / "store"
    publish("digits", "--run", run_folder, "--store", store)
    assert not read_aliases(store / "digits")
    output = publish("digits", "--run", run_folder, "--store", store, "--alias", "canary")
    assert "version 2" in output
    assert "canary -> 2" in output
    assert read_aliases(store / "digits")["canary"].version == 2


def test_malformed_alias_is_refused_before_anything_is_published(run_folder, tmp_path):
    publish("digits", "--run", run_folder, "--store", tmp_path / "store", "--alias", "no/alias", code=2)
    assert not (tmp_path / "store").exists()


def test_bundle_of_another_model_is_refused(run_folder, tmp_path):
    output = publish("areas", "--run", run_folder, "--store", tmp_path / "store", code=1)
    assert "is a bundle of digits, not of areas" in output
    assert not (tmp_path / "store").exists()


def test_missing_bundle_is_one_line(tmp_path):
    output = publish("digits", "--run", tmp_path, "--store", tmp_path / "store", code=1)
    assert "no candidate bundle" in output
    assert output.count("\n") == 1
