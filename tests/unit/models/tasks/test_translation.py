import json
from dataclasses import replace

import pytest
import torch

from models.data.dates import SOURCE, generated_dates
from models.data.errors import DataError
from models.data.generation_tokenizers import END_ID, START_ID, read_plainly
from models.networks import RecurrentTranslatorConfig, TranslatorConfig
from models.networks.stepwise import INPUT_IDS, MASK, TOKENS
from models.tasks.decoding import greedy
from models.tasks.rows import TARGET
from models.tasks.translation import LONGEST, Translation, exact
from models.tasks.writing import NOTHING, tokenizer_in
from server.codecs import TextCodec
from server.manifest import Baseline, Manifest
from tests.unit.models.tasks.manifests import written_manifest

TASK = Translation(SOURCE, lambda seed: generated_dates(seed, (60, 20, 20)), required=0.99)
CONFIGS = [RecurrentTranslatorConfig.tiny(), TranslatorConfig.tiny()]
PAIRS = [{"source": f"{number} eggs", "target": "few" if number < 20 else "more"} for number in range(1, 41)]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return TASK.prepare(CONFIGS[0], tmp_path_factory.mktemp("codec"), None, seed=0)


@pytest.fixture
def own(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "codec").mkdir()

    def prepare(rows, config=CONFIGS[0]):
        path = tmp_path / "rows.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return TASK.prepare(config, tmp_path / "codec", str(path), seed=0)

    return prepare


def test_a_row_is_what_the_codec_reads_and_a_target_given_from_its_start(prepared):
    source, target = generated_dates(0, (60, 20, 20)).rows[0]
    row, tokenizer = prepared.train[0], read_plainly(tokenizer_in(prepared.directory))
    encoded = TextCodec(prepared.codec, prepared.directory).encode(source)
    assert row[INPUT_IDS].tolist() == encoded.inputs[INPUT_IDS][0].tolist()
    assert row[TOKENS].tolist() == [START_ID, *tokenizer.encode(target).ids]
    assert row[TARGET].tolist() == [*tokenizer.encode(target).ids, END_ID]
    assert tokenizer.decode(row[TARGET].tolist()) == target


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: type(config).__name__)
def test_the_configuration_has_room_for_every_example(config, prepared):
    made = TASK.configure(replace(config, max_len=40, max_target_len=4), prepared)
    longest = max(len(row[TOKENS]) for split in (prepared.train, prepared.test) for row in split)
    assert made.max_target_len == longest + 1
    assert made.vocab_size == made.target_vocab_size == TextCodec(prepared.codec, prepared.directory).vocabulary_size
    assert TASK.configure(made, prepared) == made


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: type(config).__name__)
def test_the_signature_is_a_manifests(config, prepared):
    made = TASK.configure(config, prepared)
    manifest = written_manifest("translation", TASK.signature(made, prepared.codec), prepared.codec)
    assert Manifest.model_validate_json(manifest.to_json()) == manifest
    assert manifest.generation.end == (END_ID,)
    assert {output.name for output in manifest.outputs if output.role == "attention"}


def test_padding_is_masked_and_asked_of_nobody(prepared):
    rows = [prepared.train[index] for index in range(8)]
    batch = TASK.collate(rows)
    for number, row in enumerate(rows):
        assert batch[MASK][number].sum() == len(row[INPUT_IDS])
        assert (batch[TARGET][number] != NOTHING).sum() == len(row[TARGET])
    assert batch[TOKENS].shape == batch[TARGET].shape


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: type(config).__name__)
def test_a_score_is_the_share_that_greedy_search_writes_exactly(config, own):
    """Of a network that was trained a little, so that it is right about some."""
    prepared = own(PAIRS, config)
    torch.manual_seed(0)
    network = TASK.build(TASK.configure(config, prepared))
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    batch = TASK.collate(list(prepared.train))
    met: list[bool] = []
    for _ in range(300):
        optimizer.zero_grad()
        TASK.loss(network.train(), batch).backward()
        optimizer.step()
        network.eval()
        with torch.inference_mode():
            met = exact(network(batch[INPUT_IDS], batch[MASK], batch[TOKENS]), batch[TARGET]).tolist()
            assert TASK.score(network, batch) == (sum(met), len(met))
        if any(met):
            break
    written = [greedy(network, (row[INPUT_IDS][None], row[MASK][None])).texts[0] for row in prepared.train]
    assert [
        [*text.ids, END_ID] == row[TARGET].tolist() for text, row in zip(written, prepared.train, strict=True)
    ] == met
    assert 0 < sum(met) < len(met)


def test_an_answer_scores_as_the_network_does(prepared):
    config = TASK.configure(CONFIGS[0], prepared)
    torch.manual_seed(1)
    network = TASK.build(config).eval()
    row = prepared.test[0]
    batch = TASK.collate([row])
    with torch.inference_mode():
        logits = network(batch[INPUT_IDS], batch[MASK], batch[TOKENS])
    asked = {name: tensor.numpy() for name, tensor in batch.items()}
    assert TASK.score_answer({"logits": logits.numpy()}, asked) == TASK.score(network, batch)[0]
    right = torch.nn.functional.one_hot(batch[TARGET], config.target_vocab_size).float().numpy()
    assert TASK.score_answer({"logits": right}, asked) == 1.0


def test_padding_and_start_are_never_the_likeliest():
    logits = torch.tensor([[[9.0, 9.0, 0.0, 1.0]]])
    assert exact(logits, torch.tensor([[3]])).item()
    assert not exact(logits, torch.tensor([[2]])).item()


def test_dates_must_reach_what_is_required_and_have_no_baseline(prepared):
    quality = TASK.quality(0.985, 20, prepared)
    assert (quality.required, quality.baseline, quality.met) == (0.99, None, False)
    assert TASK.quality(0.99, 20, prepared).met


def test_own_data_must_do_better_than_the_nearest_example(own):
    prepared = own(PAIRS)
    quality = TASK.quality(1.0, prepared.provenance.examples["test"], prepared)
    assert isinstance(quality.baseline, Baseline)
    assert quality.baseline.value < quality.required
    assert not TASK.quality(quality.baseline.value, quality.examples, prepared).met


def test_own_texts_make_room_for_themselves(own):
    long = [{"source": f"{number} " + "x" * 200, "target": "y" * (100 + number)} for number in range(20)]
    prepared = own(long)
    made = TASK.configure(CONFIGS[0], prepared)
    assert made.max_len == max(len(row["source"]) for row in long)
    assert made.max_target_len == 119 + 2


def test_own_texts_that_are_too_long_are_refused(own):
    with pytest.raises(DataError, match=f"more than {LONGEST} characters"):
        own([{"source": f"{number}", "target": "y" * (LONGEST + 1)} for number in range(20)])


def test_samples_are_held_out_sources(prepared):
    texts = generated_dates(0, (60, 20, 20))
    held_out = {source.encode() for source, _ in texts.select(texts.split.test)}
    assert prepared.samples
    assert set(prepared.samples.values()) <= held_out
    assert all(name.endswith(".txt") for name in prepared.samples)
