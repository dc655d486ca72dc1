import json
import math

import pytest
import torch

from models.data.generation_tokenizers import END_ID, START_ID, read_plainly
from models.data.splits import Split
from models.data.texts import Texts
from models.networks import LanguageModelConfig
from models.networks.stepwise import INPUT_IDS, TOKENS
from models.tasks.rows import TARGET
from models.tasks.text_generation import BYTES, ROWS_AT_ONCE, TextGeneration, beginning
from models.tasks.writing import tokenizer_in
from server.codecs import TextCodec
from server.manifest import Baseline, Manifest
from tests.unit.models.tasks.manifests import written_manifest

CONFIG = LanguageModelConfig.tiny()
LINES = [
    f"Take the {word} of {number} values.\n\n    Then stop. [END] é" for number in range(8) for word in ("sum", "mean")
]


def made_up(seed: int) -> Texts:
    rows = (*((line,) for line in LINES), ("short",), ("a long text, " * 40,))
    numbers = tuple(range(len(rows)))
    return Texts("made up", ("text",), rows, Split(numbers[:10], numbers[10:13], numbers[13:]))


TASK = TextGeneration("made up", made_up)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return TASK.prepare(CONFIG, tmp_path_factory.mktemp("codec"), None, seed=0)


def of_test(texts: Texts) -> list[str]:
    return [text for (text,) in texts.select(texts.split.test)]


def test_rows_are_pieces_of_the_texts_and_each_token_is_asked_for_once(prepared):
    tokenizer = read_plainly(tokenizer_in(prepared.directory))
    rows = list(prepared.test)
    assert all(len(row[TOKENS]) == len(row[TARGET]) <= CONFIG.max_len for row in rows)
    asked = [token for row in rows for token in row[TARGET].tolist()]
    assert asked == [token for text in of_test(made_up(0)) for token in [*tokenizer.encode(text).ids, END_ID]]
    given = [token for row in rows for token in row[TOKENS].tolist()]
    assert given.count(START_ID) == given.count(START_ID) == len(of_test(made_up(0)))
    assert len(rows) > len(of_test(made_up(0)))


def test_rows_count_the_bytes_of_their_texts(prepared):
    assert sum(int(row[BYTES]) for row in prepared.test) == sum(len(text.encode()) for text in of_test(made_up(0)))


def test_a_special_token_in_a_text_is_learned_as_characters(prepared):
    for row in prepared.train:
        assert END_ID not in row[TARGET][:-1].tolist()


def test_a_network_that_knows_nothing_takes_the_bits_of_its_vocabulary(prepared):
    config = TASK.configure(CONFIG, prepared)
    network = TASK.build(config).eval()
    with torch.no_grad():
        network.output.weight.zero_()
    batch = TASK.collate(list(prepared.test))
    assert len(batch[TOKENS]) > ROWS_AT_ONCE
    with torch.inference_mode():
        bits, size = TASK.score(network, batch)
        loss = float(TASK.loss(network, batch))
    tokens = sum(len(row[TARGET]) for row in prepared.test)
    assert bits == pytest.approx(tokens * math.log2(config.vocab_size))
    assert loss == pytest.approx(math.log(config.vocab_size))
    assert size == sum(len(text.encode()) for text in of_test(made_up(0)))


def test_scores_do_not_depend_on_the_company_of_a_row(prepared):
    torch.manual_seed(0)
    network = TASK.build(TASK.configure(CONFIG, prepared)).eval()
    with torch.inference_mode():
        together, _ = TASK.score(network, TASK.collate(list(prepared.test)))
        alone = sum(TASK.score(network, TASK.collate([row]))[0] for row in prepared.test)
    assert together == pytest.approx(alone, rel=1e-5)


def test_an_answer_scores_as_the_network_does(prepared):
    torch.manual_seed(0)
    network = TASK.build(TASK.configure(CONFIG, prepared)).eval()
    batch = TASK.collate([prepared.test[0]])
    with torch.inference_mode():
        logits = network(batch[TOKENS])
        bits, size = TASK.score(network, batch)
    row = {name: tensor.numpy() for name, tensor in batch.items()}
    assert TASK.score_answer({"logits": logits.numpy()}, row) == pytest.approx(bits / size)


def test_the_quality_must_be_below_the_n_grams(prepared):
    good, bad = (TASK.quality(value, 1000, prepared) for value in (0.1, 9.0))
    assert isinstance(good.baseline, Baseline)
    assert 0.1 < good.required < good.baseline.value < 9.0
    assert (good.met, bad.met, TASK.quality(good.baseline.value, 1000, prepared).met) == (True, False, False)
    assert good.examples == len(of_test(made_up(0)))
    assert not good.higher_is_better


def test_the_signature_is_a_manifests(prepared):
    config = TASK.configure(CONFIG, prepared)
    manifest = written_manifest("text-generation", TASK.signature(config, prepared.codec), prepared.codec)
    assert Manifest.model_validate_json(manifest.to_json()) == manifest
    assert manifest.generation.start == (START_ID,)


def test_a_prompt_leaves_room_for_the_start_and_a_token(prepared):
    codec = TextCodec(prepared.codec, prepared.directory)
    assert prepared.codec.max_length == CONFIG.max_len - 2
    assert list(codec.encode("Take the").inputs) == [INPUT_IDS]
    assert START_ID not in codec.encode("Take the").inputs[INPUT_IDS]


def test_own_texts_are_read(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "rows.jsonl").write_text(
        "".join(json.dumps({"text": f"{line} {n}"}) + "\n" for n, line in enumerate(LINES))
    )
    (tmp_path / "codec").mkdir()
    prepared = TASK.prepare(CONFIG, tmp_path / "codec", str(tmp_path / "rows.jsonl"), seed=0)
    assert sum(prepared.provenance.examples.values()) == len(LINES)


def test_a_sample_is_the_beginning_of_a_text():
    assert beginning("\nTake it.\n\nThen go.") == "Take it."
    assert beginning("word " * 40) == " ".join(["word"] * 12)
