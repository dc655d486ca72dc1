"""Trains a tokenizer on the training texts alone; the server reads the same file."""

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import WordPiece
from tokenizers.trainers import WordPieceTrainer

PADDING = "[PAD]"
UNKNOWN = "[UNK]"
# Begins a piece that goes on with a word.
CONTINUED = "##"
FEWEST_OCCURRENCES = 2


def train_tokenizer(texts: Sequence[str], vocabulary: int, path: Path) -> Tokenizer:
    """Learns at most `vocabulary` word pieces (Schuster and Nakajima 2012) and writes them to `path`.

    Texts are lower-cased and stripped of accents, as BERT's uncased tokenizer does; padding has id 0. The same texts
    give the same pieces under the same ids.
    """
    learning = _tokenizer(WordPiece(unk_token=UNKNOWN))
    trainer = WordPieceTrainer(
        vocab_size=vocabulary,
        min_frequency=FEWEST_OCCURRENCES,
        # The trainer numbers these in the order given, and letters inside words in the order of a hash that differs
        # between processes; as ids break its ties, other ids are other pieces.
        special_tokens=[PADDING, UNKNOWN] + [CONTINUED + letter for letter in _letters_inside(learning, texts)],
        continuing_subword_prefix=CONTINUED,
        show_progress=False,
    )
    learning.train_from_iterator(texts, trainer)
    tokenizer = _tokenizer(learning.model)  # without the letters among the special tokens
    tokenizer.add_special_tokens([PADDING, UNKNOWN])
    tokenizer.save(str(path))
    return tokenizer


def _tokenizer(model: WordPiece) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def _letters_inside(tokenizer: Tokenizer, texts: Sequence[str]) -> list[str]:
    """Every character that occurs in a word after its first, ascending."""
    letters: set[str] = set()
    for text in texts:
        for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(text)):
            letters.update(word[1:])
    return sorted(letters)
