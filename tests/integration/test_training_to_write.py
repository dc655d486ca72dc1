"""Networks that write, from a user's own data to a checkpoint: through the whole trainer, at tiny size."""

import json
from pathlib import Path

import pytest
import torch
from rich.console import Console

from models.data.generation_tokenizers import read_plainly
from models.export.trained import load_trained
from models.registry import MODELS
from models.tasks.decoding import greedy
from models.training.fit import train
from models.training.options import TrainingOptions
from models.training.repeat import repeat_quality
from server.codecs import TextCodec

PAIRS = [{"source": f"{number} eggs", "target": "few" if number < 200 else "many"} for number in range(400)]
TEXTS = [{"text": f"Take {number} eggs, and then {number} more eggs.\nStop."} for number in range(200)]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def trained(tmp_path: Path, model: str, rows: list[dict[str, str]], **choices):
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = TrainingOptions(
        run=tmp_path / "run", data=str(tmp_path / "rows.jsonl"), tiny=True, accelerator="cpu", **choices
    )
    record = train(MODELS[model], options, Console(quiet=True))
    assert record is not None
    return record


@pytest.mark.parametrize("model", ["dates", "dates-transformer"])
def test_own_pairs_are_learned_and_written(tmp_path, model):
    record = trained(tmp_path, model, PAIRS, epochs=12, batch_size=8, learning_rate=0.03)
    assert record.quality.metric == "exact match"
    assert record.quality.value >= 0.8
    assert record.quality.baseline.name.startswith("target of the nearest")

    network = load_trained(tmp_path / "run" / "checkpoint")
    codec = TextCodec(network.codec, network.directory).encode("150 eggs")
    ids = greedy(network.network, [torch.from_numpy(codec.inputs[spec.name]) for spec in network.signature.inputs])
    assert read_plainly(network.directory / "tokenizer.json").decode(list(ids.texts[0].ids)) == "few"


def test_own_texts_are_learned_in_fewer_bits_each_epoch(tmp_path):
    record = trained(tmp_path, "docs-lm", TEXTS, epochs=3, batch_size=8, learning_rate=0.03)
    assert record.quality.metric == "bits per byte"
    assert not record.quality.higher_is_better
    assert record.quality.value < 4.0
    logged = (tmp_path / "run" / "training" / "logs" / "version_0" / "metrics.csv").read_text().splitlines()
    place = logged[0].split(",").index("quality")
    bits = [float(line.split(",")[place]) for line in logged[1:] if line.split(",")[place]]
    assert bits == sorted(bits, reverse=True)
    state = torch.load(tmp_path / "run" / "training" / "state" / "best.ckpt", weights_only=True)
    assert state["epoch"] == 2
    again = repeat_quality(MODELS["docs-lm"], tmp_path / "run" / "checkpoint")
    assert again.quality.value == pytest.approx(record.quality.value, rel=1e-5)
