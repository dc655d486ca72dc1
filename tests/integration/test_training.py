"""Trainings of tiny configurations, from the command to the checkpoint folder."""

import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from models.checkpoint import read_record
from models.registry import MODELS
from models.training.errors import TrainingRefused
from models.training.fit import train
from models.training.options import TrainingOptions
from models.training.repeat import repeat_quality
from models.training.run import RunFolder

ROOT = Path(__file__).parents[2]
EPOCHS = 6
BATCHES_AN_EPOCH = 20  # 1,222 training digits in batches of 64
PATIENCE_S = 120.0


def command(run: Path, *options: str) -> list[str]:
    return [
        sys.executable,
        "-m",
        "models",
        "train",
        "digits",
        "--tiny",
        "--accelerator",
        "cpu",
        "--out",
        str(run),
        *options,
    ]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}


def run_command(run: Path, *options: str) -> str:
    done = subprocess.run(
        command(run, *options), cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warning" not in done.stderr.lower(), done.stderr
    return done.stdout


def epochs_logged(run: Path, version: int) -> list[int]:
    with (run / "training" / "logs" / f"version_{version}" / "metrics.csv").open() as file:
        return sorted({int(row["epoch"]) for row in csv.DictReader(file)})


def last_state(run: Path) -> dict[str, object]:
    return torch.load(RunFolder(run).last, weights_only=True)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("finished")
    options = TrainingOptions(run=run, tiny=True, epochs=EPOCHS, accelerator="cpu")
    assert train(MODELS["digits"], options, Console(quiet=True)) is not None
    return run


def test_a_training_leaves_all_that_export_needs(finished):
    checkpoint = finished / "checkpoint"
    record = read_record(checkpoint)
    assert record.model == "digits"
    assert record.task == "image-classification"
    assert record.seed == 0
    assert record.quality.metric == "accuracy"
    assert record.quality.examples == 359
    assert record.quality.required == 0.97
    assert record.quality.baseline is not None
    assert record.config["num_classes"] == 10
    network = MODELS["digits"].task.build(type(MODELS["digits"].config)(**record.config))
    network.load_state_dict(load_file(checkpoint / "checkpoint.safetensors"))
    assert json.loads((checkpoint / str(record.labels)).read_text()) == [str(digit) for digit in range(10)]
    assert len(list((checkpoint / "samples").glob("*.png"))) == 12
    assert {path.name for path in checkpoint.iterdir()} == {
        "record.json", "checkpoint.safetensors", "labels.json", "samples"
    }  # fmt: skip


def test_quality_measured_again_is_the_quality_recorded(finished):
    record = read_record(finished / "checkpoint")
    assert repeat_quality(MODELS["digits"], finished / "checkpoint") == record


def test_quality_is_not_measured_again_on_other_data(finished, tmp_path, monkeypatch):
    monkeypatch.setattr("models.data.digits.MOST_INK", 17)
    with pytest.raises(TrainingRefused, match="is not what"):
        repeat_quality(MODELS["digits"], finished / "checkpoint")


def test_a_killed_training_goes_on_and_ends_as_if_it_had_not_been(finished, tmp_path):
    with subprocess.Popen(
        command(tmp_path, "--epochs", str(EPOCHS)), cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL
    ) as process:
        until = time.monotonic() + PATIENCE_S
        while not RunFolder(tmp_path).last.is_file():
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.005)
        process.kill()
    state = last_state(tmp_path)
    done = int(state["epoch"]) + 1
    assert state["global_step"] == done * BATCHES_AN_EPOCH < EPOCHS * BATCHES_AN_EPOCH
    assert not (tmp_path / "checkpoint").exists()

    run_command(tmp_path, "--epochs", str(EPOCHS), "--resume")
    assert epochs_logged(tmp_path, 1) == list(range(done, EPOCHS))
    assert last_state(tmp_path)["global_step"] == EPOCHS * BATCHES_AN_EPOCH
    resumed, whole = (load_file(run / "checkpoint" / "checkpoint.safetensors") for run in (tmp_path, finished))
    for name, weight in whole.items():
        torch.testing.assert_close(resumed[name], weight, msg=lambda text, name=name: f"{name}: {text}")


def test_another_training_is_not_resumed(finished):
    options = TrainingOptions(run=finished, tiny=True, epochs=EPOCHS, seed=1, resume=True, accelerator="cpu")
    with pytest.raises(TrainingRefused, match="cannot resume"):
        train(MODELS["digits"], options, Console(quiet=True))


def test_two_processes_share_the_batches_and_one_writes(tmp_path):
    said = run_command(tmp_path, "--devices", "2", "--strategy", "ddp")
    assert said.count("held-out examples") == 1
    assert said.count("epoch 1/2") == 1
    assert last_state(tmp_path)["global_step"] == 2 * BATCHES_AN_EPOCH // 2
    assert read_record(tmp_path / "checkpoint").quality.examples == 359


def test_a_users_texts_train_a_model_of_their_classes(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    rows = [
        {"text": f"{word} and {other} on day {day}", "label": label}
        for day in range(25)
        for label, word, other in (("weather", "rain", "wind"), ("food", "bread", "soup"))
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = TrainingOptions(
        run=tmp_path / "run",
        data=str(tmp_path / "rows.jsonl"),
        tiny=True,
        epochs=20,
        batch_size=4,
        learning_rate=0.02,
        accelerator="cpu",
    )
    record = train(MODELS["areas"], options, Console(quiet=True))
    assert record is not None
    assert record.data.source == str(tmp_path / "rows.jsonl")
    assert record.config["num_classes"] == 2
    assert record.quality.value >= 0.8
    assert repeat_quality(MODELS["areas"], tmp_path / "run" / "checkpoint").quality == record.quality
