"""From tokens to text that is certain: no half characters, and nothing that may still become a stop string."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from server.errors import ArtifactCorrupt, UndecodableInput

INCOMPLETE = "\N{REPLACEMENT CHARACTER}"
"""What stands for the bytes of half a character, and for bytes that are none."""
_STRIDE_TOKENS = 4
"""After at least so many more tokens, those before them are left behind."""
_LONG_WINDOW_TOKENS = 64
"""A window of so many tokens is cut even where its end may be half a character, if the cut can be shown to be right."""
_CONTEXT_TOKENS = 16
"""Tokens of a prefix that are decoded with the first new ones, for spaces and joins."""
_CHARACTERS_KEPT = 1 << 16
"""Of which it is remembered whether they have a token."""
_LARGEST_ID = 2**32 - 1


class TextStream:
    """The text of one sequence, token by token; its cost does not grow with the text.

    Each token is decoded with the few before it, because tokens alone do not tell their spaces and share characters.
    The texts given out, joined, are those of all tokens decoded at once, up to the first stop string: the one that is
    complete first, and of several that are complete at once the longest. How tokens cut the text makes no difference.
    """

    def __init__(
        self,
        decode: Callable[[Sequence[int]], str],
        stops: Sequence[str] = (),
        prefix: Sequence[int] = (),
        pending: Callable[[int], bool] | None = None,
    ) -> None:
        """`decode` gives the text of ids, special tokens skipped.

        `prefix` stands before the first new token and is no part of the text. `pending` tells of tokens that wait for
        the next token that is none of them: those without text, and those whose text depends on what follows in ways
        that no U+FFFD at the end shows.
        """
        self.stopped = False
        """A stop string came; the text ends before it."""
        self._decode = decode
        self._pending = pending
        self._stops = tuple(stops)
        self._window, self._known = _behind(decode, prefix)
        """Tokens that are decoded with the next, and characters of their text that are dealt with."""
        self._clean = len(self._window)  # where the window may be cut next: no character spans it
        self._held = ""  # certain, but perhaps the beginning of a stop string
        self._given: list[str] = []

    @property
    def text(self) -> str:
        """All that was given out so far."""
        return "".join(self._given)

    def push(self, token: int, *, may_stop: bool = True) -> str:
        """Adds a token; returns what became certain, "" after a stop.

        Stop strings that are complete where `may_stop` is false do not stop, and stay in the text.
        """
        if self.stopped:
            return ""
        self._window.append(token)
        if self._pending is not None and self._pending(token):
            return ""
        text = self._decode(self._window)
        certain = _certain(text)
        new = certain[self._known :]
        self._known = max(self._known, len(certain))
        self._move_window(text)
        return self._give(new, last=False, may_stop=may_stop)

    def finish(self) -> str:
        """The rest, incomplete characters as the tokenizer shows them; "" after a stop. `stopped` may become true."""
        if self.stopped:
            return ""
        text = self._decode(self._window)
        new = text[self._known :]
        self._known = max(self._known, len(text))
        return self._give(new, last=True, may_stop=True)

    def _move_window(self, text: str) -> None:
        size = len(self._window)
        if not text.endswith(INCOMPLETE):
            if size - self._clean >= _STRIDE_TOKENS:
                self._cut(self._clean, text)
                self._clean = len(self._window)
        elif size >= _LONG_WINDOW_TOKENS:
            # Either many invalid bytes, or a vocabulary with this very character.
            cut = size - 2 * _STRIDE_TOKENS
            if self._decode(self._window[:cut]) + self._decode(self._window[cut:]) == text:
                self._cut(cut, text)
                self._clean = 0

    def _cut(self, cut: int, text: str) -> None:
        """Leaves the tokens before `cut` behind, if those after it have a text of their own to begin the window.

        Tokenizers treat the first token that they show as the beginning of the text: it must stay the same one.
        """
        rest = self._window[cut:]
        shown = self._decode(rest)
        open_characters = len(text) - self._known
        if len(shown) > open_characters:
            self._window = rest
            self._known = len(shown) - open_characters

    def _give(self, new: str, *, last: bool, may_stop: bool) -> str:
        held = self._held + new
        found = _first_stop(held, self._stops) if may_stop else None
        if found is not None:
            self.stopped = True
            end, self._held = found, ""
        else:
            end = len(held) if last else _possible_stop(held, self._stops)
            self._held = held[end:]
        if given := held[:end]:
            self._given.append(given)
        return given


def _context(decode: Callable[[Sequence[int]], str], prefix: Sequence[int]) -> list[int]:
    """The end of a prefix that has a text of its own, which says what new tokens are joined to."""
    size = _CONTEXT_TOKENS
    while size < len(prefix) and not decode(prefix[-size:]):
        size *= 2
    return list(prefix[-size:])


def _behind(decode: Callable[[Sequence[int]], str], prefix: Sequence[int]) -> tuple[list[int], int]:
    """What new tokens are decoded with, and how many characters of its text belong to the prefix."""
    window = _context(decode, prefix)
    return window, len(_certain(decode(window)))


def _certain(text: str) -> str:
    """The text without a last character that more bytes may complete."""
    return text[:-1] if text.endswith(INCOMPLETE) else text


def _first_stop(text: str, stops: Sequence[str]) -> int | None:
    """Where the stop string begins that is complete first; None where none is."""
    ends = [(start + len(stop), start) for stop in stops if (start := text.find(stop)) >= 0]
    return min(ends)[1] if ends else None


def _possible_stop(text: str, stops: Sequence[str]) -> int:
    """Where the text's longest end begins that is the beginning of a stop string."""
    longest = max(map(len, stops), default=0)
    for start in range(max(0, len(text) - longest + 1), len(text)):
        if any(stop.startswith(text[start:]) for stop in stops):
            return start
    return len(text)


class Detokenizer:
    """The tokenizer of what a model writes. Safe to use from several threads."""

    def __init__(self, directory: Path, name: str = "tokenizer.json") -> None:
        """Reads the tokenizer file from `directory`. Raises ArtifactCorrupt if it is no tokenizer."""
        try:
            content = (directory / name).read_text(encoding="utf-8")
            self._tokenizer = Tokenizer.from_str(content)
            document = json.loads(content)
            self._unknown = _unknown(self._tokenizer, document["model"])
            self._waiting = _special_tokens(self._tokenizer)
            if _falls_back(document.get("decoder")):
                self._waiting |= _byte_tokens(self._tokenizer)
        except Exception as error:
            raise ArtifactCorrupt(f"{name} is not a readable tokenizer file") from error
        self._size = self._tokenizer.get_vocab_size(with_added_tokens=True)  # which copies the vocabulary to count it
        self._called: dict[int, str] = {}
        self._skipped: dict[str, bool] = {}
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    @property
    def vocabulary_size(self) -> int:
        """Number of token ids, added tokens included."""
        return self._size

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids; special tokens, and ids that are no token's, have none."""
        return self._tokenizer.decode([token for token in ids if 0 <= token <= _LARGEST_ID])

    def text(self, ids: Sequence[int], prefix: Sequence[int] = ()) -> str:
        """The text of ids that follow `prefix`, all at once: what their stream gives out, joined."""
        window, known = _behind(self.decode, prefix)
        return self.decode([*window, *ids])[known:]

    def stream(self, stops: Sequence[str] = (), prefix: Sequence[int] = ()) -> TextStream:
        """A new text, which follows `prefix`."""
        return TextStream(self.decode, stops, prefix, self._waits)

    def token(self, token: int) -> str:
        """What to call a token: its text, special ones too; as in the vocabulary where it is no whole characters."""
        called = self._called.get(token)
        if called is None:
            called = self._call(token)
            if 0 <= token < self._size:
                self._called[token] = called
        return called

    def _call(self, token: int) -> str:
        name = self._name(token)
        if name is None:
            return ""
        text = self._tokenizer.decode([token], skip_special_tokens=False)
        return text if text and INCOMPLETE not in text else name

    def encode_prefix(self, text: str) -> tuple[int, ...]:
        """The ids of a text that is to be written first, no special tokens added; () for an empty one.

        Raises UndecodableInput for what has no UTF-8 form, or no tokens of this vocabulary.
        """
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise UndecodableInput(
                f"the prefix has no UTF-8 form: a lone surrogate stands at character {error.start}"
            ) from None
        refusal = UndecodableInput("the prefix has characters that the model's tokenizer has no token for")
        try:
            encoding = self._tokenizer.encode(text, add_special_tokens=False)
        except Exception:
            # The library's text may quote the input.
            raise refusal from None
        normalizer = self._tokenizer.normalizer
        normal = text if normalizer is None else normalizer.normalize_str(text)
        if self._unknown in encoding.ids or any(map(self._skips, set(normal))):
            raise refusal
        return tuple(encoding.ids)

    def _waits(self, token: int) -> bool:
        return token in self._waiting or self._name(token) is None

    def _name(self, token: int) -> str | None:
        return self._tokenizer.id_to_token(token) if 0 <= token <= _LARGEST_ID else None

    def _skips(self, character: str) -> bool:
        """Whether a character that is neither blank nor normalised away has no token, and leaves no trace.

        Offsets do not tell: those of what stands behind a skipped character count bytes that are not its own.
        """
        skipped = self._skipped.get(character)
        if skipped is None:
            skipped = self._is_skipped(character)
            if len(self._skipped) < _CHARACTERS_KEPT:
                self._skipped[character] = skipped
        return skipped

    def _is_skipped(self, character: str) -> bool:
        normalizer = self._tokenizer.normalizer
        if character.isspace() or (normalizer is not None and not normalizer.normalize_str(character).strip()):
            return False
        try:
            # Twice, because some vocabularies tell the end of a word from its middle.
            return not self._tokenizer.encode(2 * character, add_special_tokens=False).ids
        except Exception:
            return False  # what refuses words that it does not know skips none, and has refused none of the text's


def _unknown(tokenizer: Tokenizer, model: dict[str, Any]) -> int | None:
    """The id of what stands for text that has no token, by the model's part of the file."""
    if model.get("unk_token") is not None:
        return tokenizer.token_to_id(model["unk_token"])
    return model.get("unk_id")


def _special_tokens(tokenizer: Tokenizer) -> frozenset[int]:
    return frozenset(token for token, added in tokenizer.get_added_tokens_decoder().items() if added.special)


def _falls_back(decoder: dict[str, Any] | None) -> bool:
    """Whether characters without a token are written as tokens of single bytes, `<0x00>` to `<0xFF>`."""
    if decoder is None:
        return False
    return decoder.get("type") == "ByteFallback" or any(map(_falls_back, decoder.get("decoders", ())))


def _byte_tokens(tokenizer: Tokenizer) -> frozenset[int]:
    ids = map(tokenizer.token_to_id, (f"<0x{byte:02X}>" for byte in range(256)))
    return frozenset(token for token in ids if token is not None)
