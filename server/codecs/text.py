"""Text to token ids and a mask, by the tokenizer that the model was trained with."""

import logging
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from tokenizers import Encoding, Tokenizer

from server.codecs.codec import CodecLimits, EncodedRow, Token, Truncation
from server.errors import ArtifactCorrupt, EmptyInput, PayloadTooLarge, SequenceTooLong, UndecodableInput
from server.manifest import TextCodecSpec
from server.tensors import Array

_log = logging.getLogger(__name__)


class TextCodec:
    """Encodes one text as int64 ids [1, length], and a bool mask and int64 token types where the model takes them.

    Special tokens count towards the length and survive truncation. A special token that the caller writes out in the
    text is honoured, as the training libraries do. Safe to use from several threads.
    """

    kind: ClassVar[Literal["text"]] = "text"

    def __init__(self, spec: TextCodecSpec, directory: Path, limits: CodecLimits | None = None) -> None:
        """Reads the tokenizer file from `directory`.

        Raises ArtifactCorrupt if it is no tokenizer, or if its special tokens alone fill `spec.max_length`.
        """
        self.spec = spec
        self._limits = limits or CodecLimits()
        self._tokenizer = _read_tokenizer(directory, spec.tokenizer)
        special = self._tokenizer.num_special_tokens_to_add(is_pair=False)
        if special >= spec.max_length:
            raise ArtifactCorrupt(
                f"{spec.tokenizer} adds {special} special tokens, which leaves no room in max_length {spec.max_length}"
            )

    @property
    def vocabulary_size(self) -> int:
        """Number of token ids, added tokens included."""
        return self._tokenizer.get_vocab_size(with_added_tokens=True)

    def encode(self, text: str, truncation: Truncation = Truncation.REFUSE) -> EncodedRow:
        """Tokenizes one text.

        Raises PayloadTooLarge for too many bytes, UndecodableInput for what has no UTF-8 form or no token,
        EmptyInput where nothing but special tokens remains, SequenceTooLong where `truncation` is REFUSE.
        """
        encoding = self._tokenize(text)
        kept = self._kept_positions(encoding, truncation)
        return EncodedRow(
            self._inputs(encoding, kept),
            token_source=partial(_tokens, text, encoding, kept),
            kept_tokens=len(encoding) if kept is None else len(kept),
            original_tokens=len(encoding),
        )

    def encode_many(self, texts: Iterable[str], truncation: Truncation = Truncation.REFUSE) -> Iterator[EncodedRow]:
        """Tokenizes texts one by one, as serving does; for training. The rows remember no `tokens`, to stay small."""
        for text in texts:
            row = self.encode(text, truncation)
            yield EncodedRow(row.inputs, kept_tokens=row.kept_tokens, original_tokens=row.original_tokens)

    def _tokenize(self, text: str) -> Encoding:
        self._check_bytes(text)
        if not text:
            raise EmptyInput("the text is empty")
        try:
            encoding = self._tokenizer.encode(text)
        except Exception as error:
            # The library's text may quote the input, so only its type is logged.
            _log.debug("the tokenizer refused a text", extra={"error": type(error).__name__})
            raise UndecodableInput("the text has characters that the model's tokenizer has no token for") from None
        if all(encoding.special_tokens_mask):
            raise EmptyInput("the text has no content: it yields no tokens but special ones")
        return encoding

    def _check_bytes(self, text: str) -> None:
        limit = self._limits.max_text_bytes
        # A character takes at least a byte: the first comparison spares encoding what is too long anyway.
        try:
            size = len(text) if len(text) > limit else len(text.encode())
        except UnicodeEncodeError as error:
            raise UndecodableInput(
                f"the text has no UTF-8 form: a lone surrogate stands at character {error.start}"
            ) from None
        if size > limit:
            raise PayloadTooLarge(
                f"the text has at least {size} bytes; at most {limit} are taken",
                {"bytes": str(size), "max_bytes": str(limit)},
            )

    def _kept_positions(self, encoding: Encoding, truncation: Truncation) -> list[int] | None:
        """The positions that remain after truncation, in order; None where all do."""
        total, limit = len(encoding), self.spec.max_length
        if total <= limit:
            return None
        if truncation is Truncation.REFUSE:
            raise SequenceTooLong(
                f"the text has {total} tokens, special tokens included; the model takes at most {limit}",
                {"tokens": str(total), "max_tokens": str(limit)},
            )
        special = encoding.special_tokens_mask
        content = [position for position in range(total) if not special[position]]
        cut = total - limit
        dropped = set(content[-cut:] if truncation is Truncation.END else content[:cut])
        return [position for position in range(total) if position not in dropped]

    def _inputs(self, encoding: Encoding, kept: list[int] | None) -> dict[str, Array]:
        chosen: slice | list[int] = slice(None) if kept is None else kept
        ids = np.asarray(encoding.ids, dtype=np.int64)[chosen][None]
        inputs: dict[str, Array] = {self.spec.input_ids: ids}
        if self.spec.mask is not None:
            inputs[self.spec.mask] = np.ones(ids.shape, dtype=np.bool_)
        if self.spec.token_type_ids is not None:
            inputs[self.spec.token_type_ids] = np.asarray(encoding.type_ids, dtype=np.int64)[chosen][None]
        return inputs


def _read_tokenizer(directory: Path, name: str) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_file(str(directory / name))
    except Exception as error:
        raise ArtifactCorrupt(f"{name} is not a readable tokenizer file") from error
    # The codec truncates, so that it can tell the caller, and batching pads.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _tokens(text: str, encoding: Encoding, kept: list[int] | None) -> tuple[Token, ...]:
    """Offsets are characters of the caller's text: the tokenizer undoes its own normalisation."""
    strings, offsets = encoding.tokens, encoding.offsets
    positions = range(len(strings)) if kept is None else kept
    return tuple(
        Token(text[offsets[position][0] : offsets[position][1]] or strings[position], *offsets[position])
        for position in positions
    )
