"""From a checkpoint folder to a version that the server's own store accepts, by the commands that users run."""

import json
import resource
import shutil
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from models.__main__ import app
from models.checkpoint import SAMPLES_DIR
from models.export.failure import StoreUnwritable
from models.export.golden import read_golden
from models.export.publish import publish
from server.codecs import TextCodec, build_codec
from server.errors import ArtifactCorrupt
from server.manifest import GOLDEN_FILE
from server.runtime.session import Session
from server.store.bundle import open_bundle
from tests.support.bundles import publish_tiny, tiny_candidate
from tests.support.checkpoints import make_checkpoint

MODELS = ("areas", "digits")
PUBLISHERS = 4
VERSIONS_EACH = 5


def run(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.output


def open_version(store: Path, model: str, version: int = 1):
    return open_bundle(store, model, version, max_bytes=10**9)


@pytest.mark.parametrize("model", MODELS)
def test_commands_take_a_checkpoint_to_a_version_that_the_store_verifies(tmp_path, model):
    folder, store = tmp_path / "run", tmp_path / "store"
    make_checkpoint(folder, model)
    assert "attention_0" in run("export", model, "--run", folder)
    verified = run("verify", model, "--run", folder)
    assert "batched and padded against alone" in verified
    assert "may be published" in verified
    assert "version 1" in run("publish", model, "--run", folder, "--store", store, "--alias", "stable")
    assert run("alias", model, "--store", store).split() == ["stable", "->", "1"]
    bundle = open_version(store, model)
    assert bundle.verified
    assert bundle.labels == ("class 0", "class 1", "class 2")


@pytest.mark.parametrize("model", MODELS)
def test_published_version_answers_its_golden_rows(tmp_path, model):
    publish_tiny(tmp_path, model)
    bundle = open_version(tmp_path, model)
    session = Session.open(bundle.graph_path(bundle.manifest.graphs[0]))
    for inputs, expected in read_golden(bundle.directory / GOLDEN_FILE):
        for name, array in session.run(inputs).items():
            np.testing.assert_allclose(array, expected[name], atol=bundle.manifest.graphs[0].tolerance)


@pytest.mark.parametrize("model", MODELS)
def test_published_codec_encodes_the_samples_of_the_training(tmp_path, model):
    publish_tiny(tmp_path, model)
    bundle = open_version(tmp_path, model)
    codec = build_codec(bundle.manifest.codec, bundle.directory)
    for sample in (tiny_candidate(model).parent / "checkpoint" / SAMPLES_DIR).iterdir():
        content = sample.read_bytes()
        encoded = codec.encode(content.decode() if isinstance(codec, TextCodec) else content)
        assert encoded.inputs.keys() == {spec.name for spec in bundle.manifest.inputs}


@pytest.mark.parametrize("model", MODELS)
def test_published_files_tell_nothing_of_the_machine_that_made_them(tmp_path, model):
    publish_tiny(tmp_path, model)
    traces = [str(Path.cwd()), str(Path.home()), str(tiny_candidate(model).parent), sys.prefix, "site-packages"]
    for path in (tmp_path / model / "1").iterdir():
        content = path.read_bytes()
        assert not [trace for trace in traces if trace.encode() in content], path.name


def test_another_seed_is_another_model(tmp_path):
    assert publish_tiny(tmp_path, "digits") == 1
    assert publish_tiny(tmp_path, "digits", seed=1, alias="canary") == 2
    first, second = (open_version(tmp_path, "digits", version).manifest.files for version in (1, 2))
    assert first["model.onnx"] != second["model.onnx"]


def test_tampered_version_is_refused_by_the_store(tmp_path):
    publish_tiny(tmp_path, "digits")
    with (tmp_path / "digits" / "1" / "labels.json").open("a") as file:
        file.write(" ")
    with pytest.raises(ArtifactCorrupt, match=r"labels\.json"):
        open_version(tmp_path, "digits")


def test_publishing_before_verification_is_one_line_and_exit_1(tmp_path):
    bundle = shutil.copytree(tiny_candidate("digits"), tmp_path / "run" / "bundle")
    document = json.loads((bundle / "manifest.json").read_text())
    del document["parity"]
    (bundle / "manifest.json").write_text(json.dumps(document))
    output = run("publish", "digits", "--run", tmp_path / "run", "--store", tmp_path / "store", code=1)
    assert output.strip().count("\n") == 0
    assert "is not verified" in output
    assert not (tmp_path / "store").exists()


def _publish_many(candidate: Path, store: Path) -> list[int]:
    return [publish(candidate, store).version for _ in range(VERSIONS_EACH)]


def test_publishers_at_once_get_numbers_of_their_own_and_no_version_is_torn(tmp_path):
    candidate, store = tiny_candidate("digits"), tmp_path / "store"
    with ProcessPoolExecutor(PUBLISHERS, mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(_publish_many, candidate, store) for _ in range(PUBLISHERS)]
        versions = [version for future in futures for version in future.result()]
    assert sorted(versions) == list(range(1, PUBLISHERS * VERSIONS_EACH + 1))
    assert {path.name for path in (store / "digits").iterdir()} == {str(version) for version in versions}
    for version in versions:
        assert open_version(store, "digits", version).verified


def test_disk_that_takes_no_more_leaves_nothing_behind(tmp_path):
    """A file size limit stands in for a full disk: the kernel refuses the write halfway."""
    candidate, store = tiny_candidate("digits"), tmp_path / "store"
    publish(candidate, store)
    limit = (candidate / "model.onnx").stat().st_size // 2
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(StoreUnwritable, match="no room in the store"):
            publish(candidate, store)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in (store / "digits").iterdir()] == ["1"]
    assert open_version(store, "digits").verified


def test_command_line_says_errors_of_the_user_without_a_traceback(tmp_path):
    finished = subprocess.run(
        [sys.executable, "-m", "models", "export", "nobody", "--run", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 1
    assert finished.stderr.startswith("error: 'nobody' is not a registered model; those are areas, ")
    assert finished.stderr.count("\n") == 1
    assert finished.stdout == ""
