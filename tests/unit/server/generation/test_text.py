"""Incremental text against one decode of everything, for each kind of tokenizer, whatever the tokens."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

from server.errors import ArtifactCorrupt, UndecodableInput
from server.generation.text import Detokenizer, TextStream

BEYOND = (-1, 5000, 2**32, 2**40)
"""Ids that are no token's."""
PIECES = ["a", "b", "ab", "ba", ".", "�", "é", "日"]


def byte_level() -> Tokenizer:
    """GPT-2's shape: bytes, some of them merged; an emoji takes four tokens or two."""
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    merges = [("ð", "Ł"), ("a", "b"), ("Ġ", "ab"), ("ï", "¿")]
    vocabulary = {piece: i for i, piece in enumerate([*sorted(alphabet), *("".join(pair) for pair in merges)])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens([" é", "日本"])
    return tokenizer


def word_piece() -> Tokenizer:
    """BERT's shape."""
    words = ["[UNK]", *PIECES, *(f"##{piece}" for piece in PIECES), "##", "n't", "'s"]
    tokenizer = Tokenizer(models.WordPiece(vocab={word: i for i, word in enumerate(words)}))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(cleanup=True)
    return tokenizer


def metaspace() -> Tokenizer:
    """T5's and Marian's shape."""
    pieces = ["<unk>", "▁", "▁▁", *PIECES, *(f"▁{piece}" for piece in PIECES), "a▁"]
    tokenizer = Tokenizer(models.Unigram([(piece, -float(i)) for i, piece in enumerate(pieces)], unk_id=0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    return tokenizer


def byte_fallback() -> Tokenizer:
    """Llama's shape: characters without a token are tokens of single bytes."""
    pieces = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *PIECES, *(f"▁{piece}" for piece in PIECES)]
    merges = [("a", "b"), ("b", "a"), *(("▁", piece) for piece in PIECES)]
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, unk_token="<unk>", byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return tokenizer


def characters() -> Tokenizer:
    """A token a character, and no token for all others."""
    letters = [*"ab .\n", "�", "é", "日", "😀"]
    tokenizer = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(letters)}, merges=[]))
    tokenizer.decoder = decoders.Fuse()
    return tokenizer


def suffixes() -> Tokenizer:
    """The first BPE's shape: the end of a word is marked."""
    words = [*PIECES, *(f"{piece}</w>" for piece in PIECES)]
    vocabulary = {word: i for i, word in enumerate(words)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], end_of_word_suffix="</w>"))
    tokenizer.decoder = decoders.BPEDecoder(suffix="</w>")
    return tokenizer


def words() -> Tokenizer:
    """Without a decoder: tokens are joined by spaces."""
    return Tokenizer(models.WordLevel(vocab={word: i for i, word in enumerate(PIECES)}, unk_token="a"))


KINDS = (byte_level, word_piece, metaspace, byte_fallback, characters, suffixes, words)
SPECIAL = ("<s>", "</s>")


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizers")
    for kind in KINDS:
        tokenizer = kind()
        tokenizer.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
        # A file may bring its own truncation and padding.
        tokenizer.enable_truncation(2)
        tokenizer.save(str(folder / f"{kind.__name__}.json"))
    return folder


@pytest.fixture(scope="module")
def read(directory: Path) -> Callable[[str], Detokenizer]:
    made = {kind.__name__: Detokenizer(directory, f"{kind.__name__}.json") for kind in KINDS}
    return made.__getitem__


def cropped(text: str, stops: Sequence[str]) -> str:
    """Up to the stop string that is complete first; of several, the longest."""
    for end in range(len(text) + 1):
        found = [end - len(stop) for stop in stops if text[:end].endswith(stop)]
        if found:
            return text[: min(found)]
    return text


def written(stream: TextStream, ids: Sequence[int]) -> str:
    given = [stream.push(token) for token in ids]
    given.append(stream.finish())
    assert "".join(given) == stream.text
    return stream.text


@pytest.mark.parametrize("kind", [kind.__name__ for kind in KINDS])
@given(data=st.data())
def test_joined_increments_are_one_decode_of_all_ids(
    read: Callable[[str], Detokenizer], kind: str, data: st.DataObject
) -> None:
    tokenizer = read(kind)
    token = st.integers(0, tokenizer.vocabulary_size - 1)
    ids = data.draw(st.lists(st.one_of(token, token, token, st.sampled_from(BEYOND)), max_size=60))
    # Many tokens of few kinds: long runs of bytes, spaces and incomplete characters.
    few = st.sampled_from(data.draw(st.lists(token, min_size=1, max_size=3)))
    ids += data.draw(st.lists(few, max_size=200))

    assert written(tokenizer.stream(), ids) == tokenizer.decode(ids)


@pytest.mark.parametrize("kind", [kind.__name__ for kind in KINDS])
@given(data=st.data())
def test_text_ends_before_the_first_complete_stop_string(
    read: Callable[[str], Detokenizer], kind: str, data: st.DataObject
) -> None:
    tokenizer = read(kind)
    token = st.integers(0, tokenizer.vocabulary_size - 1)
    few = st.sampled_from(data.draw(st.lists(token, min_size=1, max_size=4)))
    ids = data.draw(st.lists(few, max_size=40))
    text = tokenizer.decode(ids)
    # Some stops are parts of the text, some overlap themselves, some never come.
    part = st.tuples(st.integers(0, len(text)), st.integers(1, 8)).map(lambda at: text[at[0] : at[0] + at[1]])
    stop = st.one_of(part.filter(bool) if text else st.just("aa"), st.text("ab .�", min_size=1, max_size=5))
    stops = data.draw(st.lists(stop, max_size=4))

    stream = tokenizer.stream(stops)

    assert written(stream, ids) == cropped(text, stops)
    assert stream.stopped == any(stop in text for stop in stops)
    assert stream.finish() == ""
    assert not stream.stopped or stream.push(ids[0]) == ""


@pytest.mark.parametrize("kind", [kind.__name__ for kind in KINDS])
@given(data=st.data())
def test_what_is_given_out_is_a_prefix_of_every_continuation(
    read: Callable[[str], Detokenizer], kind: str, data: st.DataObject
) -> None:
    tokenizer = read(kind)
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocabulary_size - 1), max_size=40))
    stops = data.draw(st.lists(st.text("ab .", min_size=1, max_size=4), max_size=2))
    end = data.draw(st.integers(0, len(ids)))

    stream = tokenizer.stream(stops)
    for token in ids[:end]:
        stream.push(token)

    assert cropped(tokenizer.decode(ids), stops).startswith(stream.text)


@pytest.mark.parametrize("kind", ["byte_level", "metaspace", "word_piece", "byte_fallback", "characters"])
@given(data=st.data())
def test_prefix_gives_context_and_is_no_part_of_the_text(
    read: Callable[[str], Detokenizer], kind: str, data: st.DataObject
) -> None:
    tokenizer = read(kind)
    prefix = tokenizer.encode_prefix("a" + data.draw(st.text("ab .", max_size=50)))
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocabulary_size - 1), max_size=40))

    text = written(tokenizer.stream(prefix=prefix), ids)

    assert tokenizer.decode(prefix) + text == tokenizer.decode([*prefix, *ids])


@pytest.mark.parametrize("kind", [kind.__name__ for kind in KINDS])
@given(data=st.data())
def test_text_all_at_once_is_what_its_stream_gives_out(
    read: Callable[[str], Detokenizer], kind: str, data: st.DataObject
) -> None:
    tokenizer = read(kind)
    token = st.one_of(st.integers(0, tokenizer.vocabulary_size - 1), st.sampled_from(BEYOND))
    prefix = data.draw(st.lists(token, max_size=30))
    ids = data.draw(st.lists(token, max_size=60))

    assert tokenizer.text(ids, prefix) == written(tokenizer.stream(prefix=prefix), ids)


def test_space_before_the_first_word_depends_on_the_prefix(read: Callable[[str], Detokenizer]) -> None:
    tokenizer = read("metaspace")
    word = tokenizer.encode_prefix("ab")

    assert written(tokenizer.stream(), word) == "ab"
    assert written(tokenizer.stream(prefix=word), word) == " ab"


def test_character_that_a_prefix_began_belongs_to_the_text(read: Callable[[str], Detokenizer]) -> None:
    tokenizer = read("byte_level")
    *prefix, last = tokenizer.encode_prefix("a😀")

    assert written(tokenizer.stream(prefix=prefix), [last]) == "😀"


@pytest.mark.parametrize("kind", ["byte_level", "byte_fallback"])
def test_emoji_is_given_out_whole(read: Callable[[str], Detokenizer], kind: str) -> None:
    tokenizer = read(kind)
    ids = tokenizer.encode_prefix("a😀👍🏽b")
    stream = tokenizer.stream()

    given = [stream.push(token) for token in ids]

    assert not any("�" in text for text in given)
    assert "".join(given) == "a😀👍🏽b"


def test_incomplete_character_is_shown_only_at_the_end(read: Callable[[str], Detokenizer]) -> None:
    tokenizer = read("byte_level")
    stream = tokenizer.stream()

    given = [stream.push(token) for token in tokenizer.encode_prefix("a😀")[:-1]]

    assert "".join(given) == "a"
    assert stream.finish() == "�"


def plain(stops: Sequence[str]) -> TextStream:
    """Tokens are code points."""
    return TextStream(lambda ids: "".join(map(chr, ids)), stops)


def given_for(text: str, *stops: str) -> list[str]:
    stream = plain(stops)
    return [*(stream.push(ord(character)) for character in text), stream.finish()]


def test_beginning_of_a_stop_string_is_held_back_until_it_is_none() -> None:
    assert given_for("a\n\nb\nQ:x", "\nQ:") == ["a", "", "\n", "\nb", "", "", "", "", ""]


def test_stop_string_that_overlaps_itself_is_found_where_it_first_is() -> None:
    assert given_for("xaaabaab", "aab") == ["x", "", "", "a", "", "", "", "", ""]


def test_stop_string_that_never_comes_changes_nothing() -> None:
    assert "".join(given_for("abab", "abc", "zzzz")) == "abab"


def test_stop_string_that_is_complete_first_ends_the_text() -> None:
    assert "".join(given_for("abcd", "abcd", "c")) == "ab"
    assert "".join(given_for("abcd", "bcd", "cd")) == "a"


def test_stop_strings_do_not_stop_before_they_may() -> None:
    stream = plain(["ab"])

    given = [stream.push(ord(character), may_stop=False) for character in "xaba"] + [stream.push(ord("b"))]

    assert "".join(given) == "xab"
    assert stream.stopped


def test_cost_of_a_token_does_not_grow_with_the_text(read: Callable[[str], Detokenizer]) -> None:
    tokenizer = read("byte_level")
    most = 0

    def decode(ids: Sequence[int]) -> str:
        nonlocal most
        most = max(most, len(ids))
        return tokenizer.decode(ids)

    text = "ab 日本 😀é\n" * 100
    ids = tokenizer.encode_prefix(text)
    assert written(TextStream(decode, ["never"]), ids) == text
    assert most <= 16

    invalid = tokenizer.encode_prefix("é")[:1] * 1000
    assert written(TextStream(decode), invalid) == "�" * 1000
    assert most <= 80


def test_long_prefix_is_not_decoded_whole() -> None:
    longest = 0

    def decode(ids: Sequence[int]) -> str:
        nonlocal longest
        longest = max(longest, len(ids))
        return "".join(map(chr, ids))

    assert written(TextStream(decode, prefix=[ord("p")] * 1000), [ord("x")]) == "x"
    assert longest <= 32


@given(ids=st.lists(st.integers(-(2**65), 2**65), max_size=8))
def test_ids_that_are_no_tokens_have_no_text(read: Callable[[str], Detokenizer], ids: list[int]) -> None:
    for kind in KINDS:
        tokenizer = read(kind.__name__)
        known = [token for token in ids if 0 <= token < tokenizer.vocabulary_size]
        assert tokenizer.decode(ids) == tokenizer.decode(known)
        assert all(tokenizer.token(token) == "" for token in ids if token not in known)


@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
@example(text="0é")
def test_prefix_comes_back_as_it_was_or_is_refused(read: Callable[[str], Detokenizer], text: str) -> None:
    bytewise = read("byte_level")
    assert bytewise.decode(bytewise.encode_prefix(text)) == text

    letters = read("characters")
    known = all(character in "ab .\n�é日😀" or character.isspace() for character in text)
    if known:
        assert set(letters.decode(letters.encode_prefix(text))) <= set(text)
    else:
        with pytest.raises(UndecodableInput, match="no token"):
            letters.encode_prefix(text)


def test_empty_prefix_has_no_tokens(read: Callable[[str], Detokenizer]) -> None:
    assert all(read(kind.__name__).encode_prefix("") == () for kind in KINDS)


@pytest.mark.parametrize("kind", [kind.__name__ for kind in KINDS])
def test_lone_surrogate_in_a_prefix_is_undecodable(read: Callable[[str], Detokenizer], kind: str) -> None:
    with pytest.raises(UndecodableInput, match=r"surrogate stands at character 1"):
        read(kind).encode_prefix("a\ud83d")


@pytest.mark.parametrize(("kind", "text"), [("word_piece", "a zzz"), ("metaspace", "a z"), ("characters", "az")])
def test_prefix_with_text_that_has_no_token_is_undecodable(
    read: Callable[[str], Detokenizer], kind: str, text: str
) -> None:
    with pytest.raises(UndecodableInput, match="no token"):
        read(kind).encode_prefix(text)


def test_prefix_of_words_that_a_tokenizer_without_an_unknown_token_knows(tmp_path: Path) -> None:
    tokenizer = Tokenizer(models.WordLevel({"ab": 0, "cd": 1}))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert Detokenizer(tmp_path).encode_prefix("ab  cd") == (0, 1)
    with pytest.raises(UndecodableInput):
        Detokenizer(tmp_path).encode_prefix("ab ef")


def test_what_a_normaliser_takes_away_is_not_missed(read: Callable[[str], Detokenizer]) -> None:
    assert read("word_piece").decode(read("word_piece").encode_prefix(" A\u200b\x01 a\u0301 ")) == "a a"


def test_special_tokens_are_named_and_not_written(read: Callable[[str], Detokenizer]) -> None:
    tokenizer = read("byte_level")
    start, end = (tokenizer.vocabulary_size - 2, tokenizer.vocabulary_size - 1)

    assert (tokenizer.token(start), tokenizer.token(end)) == SPECIAL
    assert tokenizer.decode([start, *tokenizer.encode_prefix("ab"), end]) == "ab"


def test_tokens_are_called_by_their_text_or_by_the_vocabulary(read: Callable[[str], Detokenizer]) -> None:
    bytewise = read("byte_level")
    assert [bytewise.token(token) for token in bytewise.encode_prefix("ab ab😀")] == ["ab", " ab", "ðŁ", "ĺ", "Ģ"]

    pieces = read("metaspace")
    assert [pieces.token(token) for token in pieces.encode_prefix("ab é")] == ["▁", "ab", "▁", "é"]


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe", b"{}", b'{"version": "1.0", "model": 3}'])
def test_broken_tokenizer_file_is_a_corrupt_artifact(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "tokenizer.json").write_bytes(content)

    with pytest.raises(ArtifactCorrupt, match=r"tokenizer\.json"):
        Detokenizer(tmp_path)
