"""Marian's pair of SentencePiece models, which share one vocabulary, as two tokenizers of the `tokenizers` library.

The one for the source cuts as `source.spm` does and gives the ids of `vocab.json`. A piece that stands in no
vocabulary is unknown to the network, but still cuts the text: it gets an id behind the vocabulary, which the encode
graph takes for the unknown token. The one for the text written turns every id of the vocabulary back, and cuts a forced
prefix as `target.spm` does, out of pieces that the network knows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, models, processors

from models.importing.failure import ImportRefused
from models.importing.folder import read_json_object
from models.importing.sentencepiece import Pieces, read_pieces

SOURCE_PIECES, TARGET_PIECES = "source.spm", "target.spm"
VOCABULARY, TARGET_VOCABULARY = "vocab.json", "target_vocab.json"
_TOKENIZER_CONFIG = "tokenizer_config.json"
_UNLIKELY = -1e6
"""The score of a piece that only the other language has: taken where nothing else fits."""


@dataclass(frozen=True)
class MarianTokenizers:
    """Both, and what the network takes for words that it does not know."""

    source: Tokenizer
    target: Tokenizer
    unknown: int


def is_marian(directory: Path) -> bool:
    """Whether the folder holds what the library's tokenizer of Marian writes."""
    return all((directory / name).exists() for name in (SOURCE_PIECES, TARGET_PIECES, VOCABULARY))


def marian_tokenizers(directory: Path, vocab_size: int) -> MarianTokenizers:
    """Makes both; `vocab_size` is the number of words that the encoder knows.

    Raises ImportRefused if a file cannot be read or is not of the kind that can be turned, or the vocabulary has ids
    that the network has not, or none for the end, the padding or the unknown.
    """
    special = _special_tokens(directory)
    source = _vocabulary(directory / VOCABULARY, special)
    separate = (directory / TARGET_VOCABULARY).exists()
    target = _vocabulary(directory / TARGET_VOCABULARY, special) if separate else source
    if max(source.values()) >= vocab_size:
        raise ImportRefused(f"{VOCABULARY} has the id {max(source.values())}, but the network knows {vocab_size} words")
    return MarianTokenizers(
        source=_source(read_pieces(directory / SOURCE_PIECES), source, special, vocab_size),
        target=_target(read_pieces(directory / TARGET_PIECES), target, special),
        unknown=source[special["unk_token"]],
    )


def _special_tokens(directory: Path) -> dict[str, str]:
    """The names of the end, the padding and the unknown, by the role that the library gives them."""
    names = {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    path = directory / _TOKENIZER_CONFIG
    told = read_json_object(path) if path.exists() else {}
    return {role: told[role] if isinstance(told.get(role), str) else name for role, name in names.items()}


def _vocabulary(path: Path, special: Mapping[str, str]) -> dict[str, int]:
    vocabulary = read_json_object(path)
    if not all(isinstance(index, int) and index >= 0 for index in vocabulary.values()):
        raise ImportRefused(f"{path.name} does not give each piece an id from 0 on")
    missing = [name for name in special.values() if name not in vocabulary]
    if missing:
        raise ImportRefused(f"{path.name} has no {', '.join(missing)}")
    return vocabulary


def _source(pieces: Pieces, vocabulary: Mapping[str, int], special: Mapping[str, str], size: int) -> Tokenizer:
    likely = min(pieces.scores.values())
    # An id that no text of this language has: spaces are made visible before a text is cut, so that no piece has one.
    entries = [(f" {index}", likely) for index in range(size)]
    named = {*special.values(), *(piece for piece in vocabulary if _is_language(piece))}
    for piece, index in vocabulary.items():
        if piece in pieces.scores or piece in named:
            entries[index] = (piece, pieces.scores.get(piece, likely))
    entries += [(piece, score) for piece, score in pieces.scores.items() if piece not in vocabulary]
    tokenizer = _tokenizer(pieces, entries, vocabulary, special)
    tokenizer.add_special_tokens([_added(piece) for piece in vocabulary if _is_language(piece)])
    return tokenizer


def _target(pieces: Pieces, vocabulary: Mapping[str, int], special: Mapping[str, str]) -> Tokenizer:
    entries = [(f" {index}", _UNLIKELY) for index in range(max(vocabulary.values()) + 1)]
    for piece, index in vocabulary.items():
        entries[index] = (piece, pieces.scores.get(piece, _UNLIKELY))
    return _tokenizer(pieces, entries, vocabulary, special)


def _tokenizer(
    pieces: Pieces, entries: list[tuple[str, float]], vocabulary: Mapping[str, int], special: Mapping[str, str]
) -> Tokenizer:
    end = special["eos_token"]
    tokenizer = Tokenizer(models.Unigram(entries, vocabulary[special["unk_token"]], pieces.byte_fallback))
    tokenizer.normalizer = pieces.normalizer()
    tokenizer.pre_tokenizer = pieces.pre_tokenizer()
    tokenizer.decoder = pieces.decoder()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {end}", pair=f"$A $B {end}", special_tokens=[(end, vocabulary[end])]
    )
    tokenizer.add_special_tokens([_added(name) for name in special.values()])
    return tokenizer


def _added(piece: str) -> AddedToken:
    return AddedToken(piece, special=True, normalized=False)


def _is_language(piece: str) -> bool:
    """Multilingual models are told the language to write by a word such as `>>fra<<` before the text."""
    return piece.startswith(">>") and piece.endswith("<<")
