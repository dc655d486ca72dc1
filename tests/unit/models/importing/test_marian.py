import json

import pytest

from models.importing.failure import ImportRefused
from models.importing.marian import is_marian, marian_tokenizers
from models.importing.sentencepiece import read_pieces
from tests.support.hugging_face import export_folder

EXPECTED = json.loads((export_folder("marian") / "expected.json").read_text(encoding="utf-8"))
VOCABULARY = json.loads((export_folder("marian") / "vocab.json").read_text(encoding="utf-8"))


@pytest.fixture
def tokenizers(marian):
    return marian_tokenizers(marian, len(VOCABULARY))


@pytest.mark.parametrize("example", EXPECTED["texts"], ids=lambda example: example["text"])
def test_source_is_cut_as_by_the_librarys_own_tokenizer(tokenizers, example):
    ids = [
        index if index < len(VOCABULARY) else tokenizers.unknown
        for index in tokenizers.source.encode(example["text"]).ids
    ]
    assert ids == example["source"]


@pytest.mark.parametrize("example", EXPECTED["texts"], ids=lambda example: example["text"])
def test_text_is_put_together_as_by_the_librarys_own_tokenizer(tokenizers, example):
    ids = [index for index in example["written"] if index != VOCABULARY["</s>"]]
    ends = json.loads((export_folder("marian") / "generation_config.json").read_text())["eos_token_id"]
    ids = ids[: next((at for at, index in enumerate(ids[1:], 1) if index in ends), len(ids))]
    assert tokenizers.target.decode(ids).strip() == example["answer"]


def test_pieces_without_an_id_cut_the_text_and_are_unknown(tokenizers, marian):
    missing = set(read_pieces(marian / "source.spm").scores) - set(VOCABULARY)
    assert missing
    assert tokenizers.source.get_vocab_size() == len(VOCABULARY) + len(missing)


def test_pieces_of_the_other_language_cut_no_source(tokenizers, marian):
    foreign = set(read_pieces(marian / "target.spm").scores) - set(read_pieces(marian / "source.spm").scores)
    ids = tokenizers.source.encode("".join(sorted(foreign))).ids
    assert not {VOCABULARY[piece] for piece in foreign & set(VOCABULARY)} & set(ids)


def test_every_word_of_the_vocabulary_is_told_back(tokenizers):
    for piece, index in VOCABULARY.items():
        assert tokenizers.target.id_to_token(index) == piece


def test_forced_prefix_is_cut_into_words_that_the_network_knows(tokenizers):
    ids = tokenizers.target.encode("TEN READER", add_special_tokens=False).ids
    assert ids
    assert max(ids) < len(VOCABULARY)
    assert tokenizers.target.decode(ids) == "TEN READER"


def test_vocabulary_beyond_the_network_is_refused(marian):
    with pytest.raises(ImportRefused, match="the network knows 9 words"):
        marian_tokenizers(marian, 9)


def test_vocabulary_without_an_end_is_refused(marian):
    (marian / "vocab.json").write_text(json.dumps({name: i for name, i in VOCABULARY.items() if name != "</s>"}))
    with pytest.raises(ImportRefused, match=r"vocab\.json has no </s>"):
        marian_tokenizers(marian, 200)


def test_vocabulary_that_is_no_numbering_is_refused(marian):
    (marian / "vocab.json").write_text(json.dumps(dict.fromkeys(VOCABULARY, -1)))
    with pytest.raises(ImportRefused, match="does not give each piece an id"):
        marian_tokenizers(marian, 200)


def test_separate_vocabulary_of_the_text_is_taken(marian):
    turned = {name: len(VOCABULARY) - 1 - index for name, index in VOCABULARY.items()}
    (marian / "target_vocab.json").write_text(json.dumps(turned))
    tokenizers = marian_tokenizers(marian, len(VOCABULARY))
    assert tokenizers.target.token_to_id("</s>") == turned["</s>"]
    assert tokenizers.source.token_to_id("</s>") == VOCABULARY["</s>"]


def test_folder_without_both_models_is_not_marians(marian):
    assert is_marian(marian)
    (marian / "target.spm").unlink()
    assert not is_marian(marian)


@pytest.mark.parametrize("content", [b"", b"\xff\xff\xff", b"\x12\x02\x18\x02"])
def test_file_that_is_no_unigram_model_is_refused(marian, content):
    (marian / "source.spm").write_bytes(content)
    with pytest.raises(ImportRefused, match=r"source\.spm"):
        read_pieces(marian / "source.spm")
