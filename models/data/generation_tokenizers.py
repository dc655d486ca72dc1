"""Tokenizers of models that write: what is read back from their tokens is the text, character for character.

Padding, start and end have the ids 0, 1 and 2; neither tokenizer adds them to a text by itself.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE, WordLevel
from tokenizers.trainers import BpeTrainer

PADDING, START, END = "[PAD]", "[START]", "[END]"
SPECIAL = (PADDING, START, END)
PADDING_ID, START_ID, END_ID = range(3)
FEWEST_OCCURRENCES = 2


def write_character_tokenizer(texts: Iterable[str], path: Path) -> None:
    """One token for each character that occurs in the texts, written to `path`.

    A text is composed first (Unicode NFC), so that both ways to write an accent are one. What occurs in no text has no
    token, and a text with it cannot be encoded.
    """
    compose = normalizers.NFC()
    alphabet = (*SPECIAL, *sorted({character for text in texts for character in compose.normalize_str(text)}))
    tokenizer = Tokenizer(WordLevel({token: index for index, token in enumerate(alphabet)}))
    tokenizer.normalizer = compose
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens(list(SPECIAL))
    tokenizer.save(str(path))


def train_byte_pair_tokenizer(texts: Sequence[str], vocabulary: int, path: Path) -> None:
    """Learns at most `vocabulary` tokens by merging pairs of bytes (Sennrich et al. 2016) and writes them to `path`.

    Every byte is a token, so that any text can be encoded. The same texts give the same tokens under the same ids.
    """
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=FEWEST_OCCURRENCES,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.save(str(path))


def read_plainly(path: Path) -> Tokenizer:
    """The tokenizer in `path`, for texts to learn: a special token written out in one is so many characters."""
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.encode_special_tokens = True
    return tokenizer
