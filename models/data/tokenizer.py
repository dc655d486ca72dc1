"""Trains a tokenizer on the training texts alone; the server reads the same file."""

from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import WordPiece
from tokenizers.trainers import WordPieceTrainer

PADDING = "[PAD]"
UNKNOWN = "[UNK]"
FEWEST_OCCURRENCES = 2


def train_tokenizer(texts: Iterable[str], vocabulary: int, path: Path) -> Tokenizer:
    """Learns at most `vocabulary` word pieces (Schuster and Nakajima 2012) and writes them to `path`.

    Texts are lower-cased and stripped of accents, as BERT's uncased tokenizer does; padding has id 0.
    """
    tokenizer = Tokenizer(WordPiece(unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = WordPieceTrainer(
        vocab_size=vocabulary,
        min_frequency=FEWEST_OCCURRENCES,
        special_tokens=[PADDING, UNKNOWN],
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.save(str(path))
    return tokenizer
