import json
from dataclasses import asdict, replace
from pathlib import Path
from random import Random

import pytest
import torch

from models.data.errors import DataError
from models.registry import MODELS
from models.tasks.classification import above
from server.manifest import Baseline, Manifest, TextCodecSpec

ROWS = [{"text": f"{word} weather on day {n}", "label": word} for n in range(20) for word in ("cold", "warm")]


@pytest.fixture
def texts(tmp_path, monkeypatch) -> str:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return str(path)


def prepare(name: str, directory: Path, data: str | None):
    directory.mkdir(exist_ok=True)
    model = MODELS[name]
    prepared = model.task.prepare(model.tiny, directory, data, seed=0)
    return model.task, prepared, model.task.configure(model.tiny, prepared)


@pytest.mark.parametrize("name", ["digits", "areas"])
def test_the_signature_describes_what_the_network_returns(name, tmp_path, texts):
    task, prepared, config = prepare(name, tmp_path / "codec", texts if name == "areas" else None)
    signature = task.signature(config, prepared.codec)
    batch = task.collate([prepared.test[0], prepared.test[1]])
    network = task.build(config).eval()
    outputs = task.flatten(network(**{spec.name: batch[spec.name] for spec in signature.inputs}))
    assert len(outputs) == len(signature.outputs)
    for spec, output in zip(signature.outputs, outputs, strict=True):
        sizes = [axis.size if axis.kind == "fixed" else None for axis in spec.axes]
        assert len(output.shape) == len(sizes)
        assert all(size in (None, found) for size, found in zip(sizes, output.shape, strict=True))


@pytest.mark.parametrize("name", ["digits", "areas"])
def test_the_signature_makes_a_valid_manifest(name, tmp_path, texts):
    task, prepared, config = prepare(name, tmp_path / "codec", texts if name == "areas" else None)
    signature = task.signature(config, prepared.codec)
    manifest = Manifest(
        name=name,
        task=task.name,
        graphs=({"file": "model.onnx", "opset": 18},),
        inputs=signature.inputs,
        outputs=signature.outputs,
        attention=signature.attention,
        codec=prepared.codec,
    )
    assert manifest.batched


def test_a_windowed_text_classifier_has_logits_alone_and_is_traced_beyond_its_window(tmp_path, texts):
    task, prepared, config = prepare("areas", tmp_path / "codec", texts)
    windowed = replace(config, window=9)
    signature = task.signature(windowed, prepared.codec)
    assert [spec.name for spec in signature.outputs] == ["logits"]
    assert signature.attention == ()
    assert signature.inputs == task.signature(config, prepared.codec).inputs
    assert signature.example_length == 10
    batch = task.collate([prepared.test[0], prepared.test[1]])
    outputs = task.flatten(task.build(windowed).eval()(batch["input_ids"], batch["mask"]))
    assert [output.shape for output in outputs] == [(2, windowed.num_classes)]


def test_text_data_decides_classes_and_vocabulary(tmp_path, texts):
    _, prepared, config = prepare("areas", tmp_path / "codec", texts)
    assert config.num_classes == 2
    assert config.vocab_size == len(json.loads((tmp_path / "codec" / "tokenizer.json").read_text())["model"]["vocab"])
    assert json.loads((tmp_path / "codec" / "labels.json").read_text()) == ["cold", "warm"]
    assert prepared.files == ("tokenizer.json", "labels.json")
    assert isinstance(prepared.codec, TextCodecSpec)
    assert type(config)(**json.loads(json.dumps(asdict(config)))) == config


def test_a_tokenizer_that_is_there_is_used_as_it_is(tmp_path, texts):
    prepare("areas", tmp_path / "codec", texts)
    tokenizer = tmp_path / "codec" / "tokenizer.json"
    other = json.loads(tokenizer.read_text())
    del other["model"]["vocab"]["cold"]
    tokenizer.write_text(json.dumps(other))
    prepare("areas", tmp_path / "codec", texts)
    assert "cold" not in json.loads(tokenizer.read_text())["model"]["vocab"]


def test_samples_are_held_out_inputs_as_a_caller_sends_them(tmp_path, texts):
    _, prepared, _ = prepare("areas", tmp_path / "codec", texts)
    assert set(prepared.samples) == {f"{number}.txt" for number in range(len(prepared.samples))}
    assert {content.decode() for content in prepared.samples.values()} <= {row["text"] for row in ROWS}


def test_own_data_must_beat_the_baseline_and_default_data_its_requirement(tmp_path, texts):
    task, prepared, _ = prepare("areas", tmp_path / "codec", texts)
    report = task.quality(0.5, 8, prepared)
    assert report.baseline is not None
    assert report.required == above(report.baseline.value, 8)
    digits, default, _ = prepare("digits", tmp_path / "digits", None)
    assert digits.quality(0.5, 359, default).required == 0.97


@pytest.mark.parametrize("name", ["digits", "areas"])
def test_answers_of_single_rows_score_what_the_network_scores_on_them_together(name, tmp_path, texts):
    task, prepared, config = prepare(name, tmp_path / "codec", texts if name == "areas" else None)
    torch.manual_seed(0)
    network = task.build(config).eval()
    rows = [prepared.test[index] for index in range(8)]
    batch = task.collate(rows)
    with torch.inference_mode():
        total, count = task.score(network, batch)
        logits = task.flatten(network(**{key: batch[key] for key in batch if key != "target"}))[0].numpy()
    targets = [{"target": row["target"].unsqueeze(0).numpy()} for row in rows]
    scores = [task.score_answer({"logits": logits[n : n + 1]}, target) for n, target in enumerate(targets)]
    assert (sum(scores), len(scores)) == (total, count)
    right = {"target": logits[:1].argmax(axis=-1)}
    assert task.score_answer({"logits": logits[:1]}, right) == 1.0
    assert task.score_answer({"logits": -logits[:1]}, right) == 0.0


def test_a_baseline_is_beaten_by_one_more_right_answer():
    assert above(0.75, 8) == 7 / 8
    assert above(Baseline(name="", value=1.0).value, 8) == 1.0


def test_a_text_without_any_token_is_a_data_error(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({**row, "text": " "}) + "\n" for row in ROWS))
    with pytest.raises(DataError, match="an example cannot be encoded"):
        prepare("areas", tmp_path / "codec", str(path))


def test_a_cropped_text_is_a_window_of_it_with_its_class(tmp_path):
    task = MODELS["areas"].task
    row = {
        "input_ids": torch.arange(30),
        "mask": torch.ones(30, dtype=torch.bool),
        "target": torch.tensor(4),
    }
    rng = Random(0)
    windows = [task.augment(row, rng) for _ in range(200)]
    assert len({len(window["input_ids"]) for window in windows}) > 5
    for window in windows:
        ids = window["input_ids"]
        assert len(ids) >= 8
        assert len(ids) == len(window["mask"])
        assert int(window["target"]) == 4
        assert torch.equal(ids, torch.arange(int(ids[0]), int(ids[0]) + len(ids)))


def test_a_shifted_image_keeps_its_size_and_most_of_its_content():
    task = MODELS["digits"].task
    pixels = torch.rand(1, 8, 8)
    rng = Random(0)
    shifted = [task.augment({"pixels": pixels, "target": torch.tensor(1)}, rng)["pixels"] for _ in range(50)]
    assert all(image.shape == pixels.shape for image in shifted)
    assert any(torch.equal(image, pixels) for image in shifted)
    assert any(torch.equal(image[:, 1:, :], pixels[:, :-1, :]) for image in shifted)


def test_padding_does_not_change_a_row(tmp_path, texts):
    task, prepared, config = prepare("areas", tmp_path / "codec", texts)
    network = task.build(config).eval()
    rows = [prepared.train[0], prepared.train[1]]
    longer = {
        **rows[1],
        "input_ids": rows[1]["input_ids"].repeat(3),
        "mask": rows[1]["mask"].repeat(3),
    }
    alone, together = task.collate(rows[:1]), task.collate([rows[0], longer])
    first = network(alone["input_ids"], alone["mask"]).logits[0]
    second = network(together["input_ids"], together["mask"]).logits[0]
    torch.testing.assert_close(first, second)


def test_the_embedding_starts_from_the_company_of_words_at_unit_variance(tmp_path, texts):
    task, prepared, config = prepare("areas", tmp_path / "codec", texts)
    network = task.build(config)
    before = network.token_embedding.weight.detach().clone()
    task.initialise(network, prepared, seed=0)
    after = network.token_embedding.weight.detach()
    assert not torch.equal(before, after)
    assert float((after * network.token_scale).std()) == pytest.approx(1.0, rel=1e-3)
