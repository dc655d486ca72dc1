"""The tokenizers of an import: one for the source, and one, perhaps the same, for the text that is written."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from models.importing.failure import ImportRefused
from models.importing.folder import Export
from models.importing.marian import is_marian, marian_tokenizers

TOKENIZER_FILE, TARGET_TOKENIZER_FILE = "tokenizer.json", "target_tokenizer.json"


@dataclass(frozen=True)
class Words:
    """What was written into the bundle."""

    source: str
    """The file that turns the caller's text into ids."""
    target: str
    """The file that turns what is written into text."""
    unknown: int | None
    """What stands for source ids that the network does not know; None: the tokenizer has none such."""


def write_tokenizers(export: Export, bundle: Path, vocab_size: int) -> Words:
    """Copies the export's `tokenizer.json`, or makes two of Marian's SentencePiece models.

    `vocab_size` is the number of words that the encoder knows.
    Raises ImportRefused if there is neither, or the tokenizer cannot be read, or has words that the encoder does not
    know; what `marian_tokenizers` raises.
    """
    if (export.directory / TOKENIZER_FILE).exists():
        shutil.copyfile(export.directory / TOKENIZER_FILE, bundle / TOKENIZER_FILE)
        _check_known(bundle, vocab_size)
        return Words(TOKENIZER_FILE, TOKENIZER_FILE, None)
    if is_marian(export.directory):
        made = marian_tokenizers(export.directory, vocab_size)
        made.source.save(str(bundle / TOKENIZER_FILE), pretty=False)
        made.target.save(str(bundle / TARGET_TOKENIZER_FILE), pretty=False)
        cuts_more = made.source.get_vocab_size() > vocab_size
        return Words(TOKENIZER_FILE, TARGET_TOKENIZER_FILE, made.unknown if cuts_more else None)
    raise ImportRefused(
        f"{export.directory} holds neither {TOKENIZER_FILE} nor Marian's source.spm, target.spm and vocab.json: "
        "write one with `AutoTokenizer.from_pretrained(<model>, use_fast=True).save_pretrained(<folder>)`"
    )


def _check_known(bundle: Path, vocab_size: int) -> None:
    try:
        tokenizer = Tokenizer.from_file(str(bundle / TOKENIZER_FILE))
    except Exception as error:  # the library raises nothing narrower
        raise ImportRefused(f"{TOKENIZER_FILE} is not a readable tokenizer file") from error
    highest = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)
    if highest >= vocab_size:
        raise ImportRefused(
            f"{TOKENIZER_FILE} has the id {highest}, but the network knows {vocab_size} words: they are of two models"
        )
