import shutil

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from typer.testing import CliRunner

from models.__main__ import app
from server.store.aliases import read_aliases
from tests.support.hugging_face import export_folder


def run(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, ("import", *map(str, arguments)), catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture
def folders(tmp_path):
    return ("--run", tmp_path / "run", "--store", tmp_path / "store")


def test_export_becomes_a_version_with_an_alias(folders, tmp_path):
    output = run("words", export_folder("marian"), *folders, "--alias", "stable")
    assert "verified words" in output
    assert "note: forced_eos_token_id" in output
    assert "published words version 1" in output
    assert read_aliases(tmp_path / "store" / "words")["stable"].version == 1


def test_import_without_publishing_leaves_a_verified_candidate(folders, tmp_path):
    output = run("words", export_folder("t5"), *folders, "--no-publish", "--max-length", 16, "--task", "translation")
    assert "published" not in output
    assert not (tmp_path / "store").exists()
    assert (tmp_path / "run" / "bundle" / "golden.npz").exists()


def test_refusal_is_one_line(folders, tmp_path):
    shutil.copytree(export_folder("t5"), tmp_path / "export", ignore=shutil.ignore_patterns("decoder_with*"))
    output = run("words", tmp_path / "export", *folders, code=1)
    assert output.startswith("error: ")
    assert output.count("\n") == 1


def test_decoders_that_disagree_are_refused(folders, tmp_path):
    export = shutil.copytree(export_folder("t5"), tmp_path / "export")
    model = onnx.load(export / "decoder_model.onnx")
    largest = max(model.graph.initializer, key=lambda tensor: np.prod(tensor.dims))
    largest.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(largest) * 1.5, largest.name))
    onnx.save(model, export / "decoder_model.onnx")
    output = run("words", export, *folders, "--tolerance", 1e-4, code=1)
    assert "over the tolerance of 1e-04" in output
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(("name", "options"), [("../up", ()), ("words", ("--task", "detection"))])
def test_bad_argument_is_refused_before_any_work(folders, tmp_path, name, options):
    run(name, export_folder("t5"), *folders, *options, code=2)
    assert not (tmp_path / "run").exists()
