"""Text codec: ids, offsets, truncation, and everything that a caller can get wrong."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from server.codecs import CodecLimits, TextCodec, Token, Truncation, build_codec
from server.errors import (
    ArtifactCorrupt,
    EmptyInput,
    PayloadTooLarge,
    SequenceTooLong,
    ServeError,
    UndecodableInput,
)
from server.manifest import TextCodecSpec

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "one", "two", "three", "four", "cafe", "##s", "日", "本"]
CLS, SEP = WORDS.index("[CLS]"), WORDS.index("[SEP]")


def word_piece() -> Tokenizer:
    """A BERT-shaped tokenizer: lower-cases, strips accents, wraps in [CLS] and [SEP]."""
    tokenizer = Tokenizer(models.WordPiece(vocab={word: i for i, word in enumerate(WORDS)}))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)]
    )
    tokenizer.add_special_tokens(["[CLS]", "[SEP]"])
    # A file may bring its own truncation and padding: the codec must not inherit them.
    tokenizer.enable_truncation(3)
    tokenizer.enable_padding(length=7)
    return tokenizer


def byte_level() -> Tokenizer:
    """A GPT-2-shaped tokenizer without merges: one token a byte."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={char: i for i, char in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return tokenizer


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizers")
    word_piece().save(str(folder / "words.json"))
    byte_level().save(str(folder / "bytes.json"))
    return folder


@pytest.fixture(scope="module")
def make(directory: Path) -> Callable[..., TextCodec]:
    def build(
        max_length: int = 8,
        tokenizer: str = "words.json",
        limits: CodecLimits | None = None,
        types: str | None = None,
    ) -> TextCodec:
        spec = TextCodecSpec(tokenizer=tokenizer, max_length=max_length, token_type_ids=types)
        built = build_codec(spec, directory, limits)
        assert isinstance(built, TextCodec)
        return built

    return build


def test_ids_mask_and_types_are_one_unpadded_row(make: Callable[..., TextCodec]) -> None:
    row = make(types="types").encode("One two")

    ids = row.inputs["input_ids"]
    assert ids.dtype == np.int64
    assert ids.tolist() == [[CLS, WORDS.index("one"), WORDS.index("two"), SEP]]
    assert row.inputs["mask"].dtype == np.bool_
    assert row.inputs["mask"].tolist() == [[True] * 4]
    assert row.inputs["types"].dtype == np.int64
    assert row.inputs["types"].tolist() == [[0] * 4]
    assert (row.kept_tokens, row.original_tokens) == (4, 4)


def test_inputs_that_the_model_does_not_take_are_left_out(directory: Path) -> None:
    codec = TextCodec(TextCodecSpec(tokenizer="words.json", max_length=8, mask=None), directory)

    assert set(codec.encode("one").inputs) == {"input_ids"}


def test_offsets_are_characters_of_the_original_text(make: Callable[..., TextCodec]) -> None:
    # A combining accent, an emoji of four bytes and characters that split: each shifts bytes against characters.
    text = "cafe\u0301s 😀 日本 two"

    tokens = make(max_length=16).encode(text).tokens

    assert tokens == (
        Token("[CLS]", 0, 0),
        Token("cafe", 0, 4),
        Token("s", 5, 6),
        Token("😀", 7, 8),
        Token("日", 9, 10),
        Token("本", 10, 11),
        Token("two", 12, 15),
        Token("[SEP]", 0, 0),
    )


def test_label_is_the_callers_spelling_not_the_normalised_one(make: Callable[..., TextCodec]) -> None:
    assert [token.text for token in make().encode("CAFÉ").tokens] == ["[CLS]", "CAFÉ", "[SEP]"]


def test_bytes_of_one_character_share_its_place(make: Callable[..., TextCodec]) -> None:
    tokens = make(tokenizer="bytes.json").encode("a😀").tokens

    assert tokens == (Token("a", 0, 1), *[Token("😀", 1, 2)] * 4)


def test_too_long_text_is_refused_with_both_numbers(make: Callable[..., TextCodec]) -> None:
    with pytest.raises(SequenceTooLong, match=r"6 tokens.*at most 5") as refused:
        make(max_length=5).encode("one two three four")

    assert refused.value.metadata == {"tokens": "6", "max_tokens": "5"}


def test_text_of_exactly_the_limit_passes(make: Callable[..., TextCodec]) -> None:
    assert make(max_length=6).encode("one two three four").kept_tokens == 6


@pytest.mark.parametrize(
    ("truncation", "kept"),
    [(Truncation.END, ["[CLS]", "one", "two", "[SEP]"]), (Truncation.START, ["[CLS]", "three", "four", "[SEP]"])],
)
def test_truncation_cuts_content_and_keeps_special_tokens(
    make: Callable[..., TextCodec], truncation: Truncation, kept: list[str]
) -> None:
    row = make(max_length=4, types="types").encode("one two three four", truncation)

    assert [token.text for token in row.tokens] == kept
    assert row.inputs["input_ids"].tolist() == [[WORDS.index(word) for word in kept]]
    assert {array.shape for array in row.inputs.values()} == {(1, 4)}
    assert (row.kept_tokens, row.original_tokens, row.truncated) == (4, 6, True)


def test_truncation_leaves_a_short_text_alone(make: Callable[..., TextCodec]) -> None:
    row = make().encode("one two", Truncation.START)

    assert [token.text for token in row.tokens] == ["[CLS]", "one", "two", "[SEP]"]
    assert not row.truncated


@pytest.mark.parametrize("text", ["", " \t\n", "\u200b\x01", "\0"])
def test_text_without_content_is_empty(make: Callable[..., TextCodec], text: str) -> None:
    with pytest.raises(EmptyInput):
        make().encode(text)


def test_blank_text_counts_where_the_tokenizer_has_tokens_for_it(make: Callable[..., TextCodec]) -> None:
    assert make(tokenizer="bytes.json").encode(" ").kept_tokens == 1


def test_null_character_does_not_end_the_text(make: Callable[..., TextCodec]) -> None:
    assert [token.text for token in make().encode("one \0 two").tokens] == ["[CLS]", "one", "two", "[SEP]"]


@pytest.mark.parametrize("text", ["one \ud83d two", "\udcff", "\ude00\ud83d"])
def test_lone_surrogate_is_undecodable(make: Callable[..., TextCodec], text: str) -> None:
    with pytest.raises(UndecodableInput, match="surrogate"):
        make().encode(text)


@pytest.mark.parametrize("text", ["a" * 11, "日本日本"])
def test_byte_limit_holds_before_tokenizing(make: Callable[..., TextCodec], text: str) -> None:
    with pytest.raises(PayloadTooLarge, match="at most 10"):
        make(limits=CodecLimits(max_text_bytes=10)).encode(text, Truncation.END)


def test_text_of_exactly_the_byte_limit_passes(make: Callable[..., TextCodec]) -> None:
    assert make(limits=CodecLimits(max_text_bytes=6)).encode("日本").kept_tokens == 4


def test_text_that_the_tokenizer_cannot_represent_is_undecodable(tmp_path: Path) -> None:
    Tokenizer(models.WordLevel(vocab={"known": 0})).save(str(tmp_path / "tokenizer.json"))

    with pytest.raises(UndecodableInput, match="no token"):
        TextCodec(TextCodecSpec(max_length=4), tmp_path).encode("secret")


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe", b"{}", b'{"version": "1.0", "model": 3}'])
def test_broken_tokenizer_file_is_a_corrupt_artifact(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "tokenizer.json").write_bytes(content)

    with pytest.raises(ArtifactCorrupt, match=r"tokenizer\.json"):
        build_codec(TextCodecSpec(max_length=4), tmp_path)


def test_limit_that_special_tokens_fill_is_a_corrupt_artifact(make: Callable[..., TextCodec]) -> None:
    with pytest.raises(ArtifactCorrupt, match="2 special tokens"):
        make(max_length=2)


def test_many_texts_encode_like_each_alone(make: Callable[..., TextCodec]) -> None:
    texts = ["one", "two three", "one two three four one two three"]
    codec = make(max_length=5)

    rows = list(codec.encode_many(texts, Truncation.END))

    for row, text in zip(rows, texts, strict=True):
        alone = codec.encode(text, Truncation.END)
        assert row.inputs["input_ids"].tolist() == alone.inputs["input_ids"].tolist()
        assert (row.kept_tokens, row.original_tokens) == (alone.kept_tokens, alone.original_tokens)


def test_vocabulary_size_counts_added_tokens(make: Callable[..., TextCodec]) -> None:
    assert make().vocabulary_size == len(WORDS)


def test_threads_share_one_codec(make: Callable[..., TextCodec]) -> None:
    codec = make(max_length=64)
    texts = [" ".join(WORDS[4:8][: 1 + i % 4]) for i in range(64)]

    with ThreadPoolExecutor(4) as pool:
        lengths = list(pool.map(lambda text: codec.encode(text).kept_tokens, texts))

    assert lengths == [3 + i % 4 for i in range(64)]


@given(text=st.text(st.characters(), max_size=60), truncation=st.sampled_from(Truncation))
def test_any_text_is_encoded_within_bounds_or_refused_by_name(
    make: Callable[..., TextCodec], text: str, truncation: Truncation
) -> None:
    for tokenizer in ("words.json", "bytes.json"):
        try:
            row = make(tokenizer=tokenizer).encode(text, truncation)
        except ServeError:
            continue
        assert 1 <= row.kept_tokens <= 8
        assert len(row.tokens) == row.kept_tokens == row.inputs["input_ids"].shape[1]
        assert all(0 <= token.start <= token.end <= len(text) for token in row.tokens)
        assert all(token.text == text[token.start : token.end] for token in row.tokens if token.start < token.end)
