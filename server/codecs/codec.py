"""What every codec has in common: one encoded row, the limits, and the caller's choice of truncation."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from server.tensors import Array


class Truncation(StrEnum):
    """What to do with a text that has more tokens than the model takes; the name says which end is cut off."""

    REFUSE = "refuse"
    """Fail with SequenceTooLong: nothing is ever cut silently."""
    END = "end"
    """Cut off the end and keep the beginning."""
    START = "start"
    """Cut off the beginning and keep the end."""


class Token(NamedTuple):
    """One token and where it stands in the caller's text."""

    text: str
    """The piece of the caller's text, or the token's own string where no piece belongs to it, such as `[CLS]`."""
    start: int
    """Characters before the piece."""
    end: int
    """Characters up to the end of the piece; equal to `start` for a token that stands for no text."""


def _no_tokens() -> tuple[Token, ...]:
    return ()


@dataclass(frozen=True, slots=True, eq=False)
class EncodedRow:
    """One row of input, as the model takes it but for padding.

    Arrays have the codec's dtypes (int64 ids, bool mask, float32 pixels); admission casts them to the input's own.
    """

    inputs: Mapping[str, Array]
    """The model's inputs by name, each with a leading row axis of 1."""
    token_source: Callable[[], tuple[Token, ...]] = _no_tokens
    """Makes the tokens when they are asked for: most requests want no attention map and so no tokens."""
    kept_tokens: int = 0
    """Tokens in `inputs`, special tokens included; 0 where the content has no tokens."""
    original_tokens: int = 0
    """Tokens before truncation, special tokens included."""

    @property
    def tokens(self) -> tuple[Token, ...]:
        """The tokens behind each position; empty where the content has none. Computed anew at each access."""
        return self.token_source()

    @property
    def truncated(self) -> bool:
        """Whether something was cut off."""
        return self.kept_tokens < self.original_tokens


@dataclass(frozen=True, slots=True)
class CodecLimits:
    """Bounds that hold before the costly part of encoding begins."""

    max_text_bytes: int = 1024**2
    """The most UTF-8 bytes of one text."""
    max_image_pixels: int = 16 * 1024**2
    """The most pixels of one image, by its header."""
