"""A text classifier from its training to a published bundle with int8 graphs, by the commands alone."""

import json
import re
import shutil

import pytest
from rich.console import Console
from typer.testing import CliRunner

from models.__main__ import app
from models.checkpoint import read_record
from models.export.bundle import read_candidate
from models.registry import MODELS
from models.training.fit import train
from models.training.options import TrainingOptions
from server.manifest import MANIFEST_FILE, parse_manifest
from server.packed import PACKED_LAYOUTS

TOPICS = (("weather", "rain", "wind"), ("food", "bread", "soup"), ("music", "drum", "flute"))


@pytest.fixture(scope="module")
def trained_run(tmp_path_factory):
    """A run folder with a tiny text classifier, trained on a user's own rows, exported."""
    import datasets

    folder = tmp_path_factory.mktemp("quantise")
    rows = [
        {"text": f"{word} and {other} on day {day}", "label": label}
        for day in range(25)
        for label, word, other in TOPICS
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = TrainingOptions(
        run=folder / "run",
        data=str(folder / "rows.jsonl"),
        tiny=True,
        epochs=20,
        batch_size=4,
        learning_rate=0.02,
        accelerator="cpu",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", folder / "cache")
        assert train(MODELS["areas"], options, Console(quiet=True)) is not None
        answer("export", "areas", "--run", str(folder / "run"))
        yield folder / "run"


@pytest.fixture
def run(trained_run, tmp_path):
    return shutil.copytree(trained_run, tmp_path / "run")


def answer(*arguments: str, exit_code: int = 0) -> str:
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == exit_code, result.output
    return result.output


def test_trained_model_is_quantised_verified_and_published_with_what_it_lost(run, tmp_path):
    quality = read_record(run / "checkpoint").quality
    said = answer("quantise", "areas", "--run", str(run))
    assert re.search(r"block-diagonal +fp32", said)
    assert f"accuracy on {quality.examples} held-out examples; a drop of 0.0100 is allowed" in said
    assert "int8 against fp32" in answer("verify", "areas", "--run", str(run))
    answer("publish", "areas", "--run", str(run), "--store", str(tmp_path / "store"))

    published = tmp_path / "store" / "areas" / "1"
    manifest = parse_manifest((published / MANIFEST_FILE).read_bytes())
    graphs = [graph for graph in manifest.graphs if graph.precision == "int8"]
    assert [graph.layout for graph in graphs] == ["rows", *PACKED_LAYOUTS]
    for graph in graphs:
        lost = graph.quantisation.quality
        assert (lost.metric, lost.examples) == (quality.metric, quality.examples)
        assert lost.source_value == pytest.approx(quality.value)  # the session answers as the network did
        assert lost.drop <= 0.01
        assert (published / graph.file).is_file()


def test_data_that_is_gone_is_said_with_the_way_to_do_without(run, monkeypatch):
    before = read_candidate(run / "bundle")
    record = run / "checkpoint" / "record.json"
    source = json.loads(record.read_text())["data"]["source"]
    record.write_text(record.read_text().replace(source, str(run / "gone.jsonl")))
    said = answer("quantise", "areas", "--run", str(run), exit_code=1)
    assert "gone.jsonl does not exist; with --without-quality, the error to fp32 alone is stated" in said
    assert read_candidate(run / "bundle") == before
    assert re.search(r"int8 +\S+ +\S+ +\S+ +none", answer("quantise", "areas", "--run", str(run), "--without-quality"))


def test_model_without_weights_has_nothing_to_quantise(tmp_path):
    run = str(tmp_path / "run")
    answer("export", "attend", "--run", run)
    assert "no held-out quality to lose" in answer("quantise", "attend", "--run", run, exit_code=1)
    said = answer("quantise", "attend", "--run", run, "--without-quality", exit_code=1)
    assert "multiplies nothing by a fixed matrix" in said
