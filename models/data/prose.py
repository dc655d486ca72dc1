"""From a docstring to plain words, with every name masked that would give its library away."""

import re
from collections.abc import Iterable

# What stands in the place of a masked name. Neither a word nor part of one, so that a bag of words does not see it.
MASK = "@"

# Characters of a docstring that are looked at; none is needed beyond.
LONGEST = 3000
# Lines that are formal, not words: the titles of sections, which each library writes in its own style, and directives.
TITLE = re.compile(
    r"^\s*(?:\.\. .*|(?:(?:other |keyword )?(?:parameters|params|args|arguments)|returns?|yields?|receives|raises"
    r"|warns?|warnings?|attributes|methods|examples?|notes?|see also|references|shape|inputs?|outputs?|usage|todo"
    r"|read more.*)\s*:{0,2}\s*)$",
    re.IGNORECASE,
)
FIELD = re.compile(
    r"^\s*[:@](?:param|parameter|arg|type|returns?|rtype|raises?|keyword|ivar|var)\b[^:]*:?", re.IGNORECASE
)
ROLE = re.compile(r":[a-z:+-]+:`~?\.?([^`<]*?)(?:\s*<[^`]*>)?`", re.IGNORECASE)
RULE = re.compile(r"^[\s=\-~^*#+|]+$")
LINK = re.compile(r"https?://\S+|www\.\S+")
SIGNATURE = re.compile(r"^\s*[\w.]+\([^()]*\)\s*(?:->.*)?$")
IMPORT = re.compile(r"\b(?:from\s+[\w.]+\s+)?import\s+[\w.]+(?:\s+as\s+\w+)?")
MODULE = re.compile(
    r"\b(?:(?P<before>\w+)(?=\s+(?:module|package|library)\b)|(?<=module )(?P<after>\w+))", re.IGNORECASE
)
WORD = re.compile(r"scikit-learn|\w+", re.IGNORECASE)
DOTTED = re.compile(r"\b(\w+(?:\.\w+)+)\b")


def describe(docstring: str) -> str:
    """The words of a docstring up to its first example session, as one line; empty if it has none.

    Left out: titles of sections, rules, directives, links, and the call signature at the top that C functions carry.
    """
    kept: list[str] = []
    for line in docstring[:LONGEST].splitlines():
        if line.lstrip().startswith(">>>"):
            break
        if TITLE.match(line) or RULE.match(line) or (not any(kept) and SIGNATURE.match(line)):
            continue
        kept.append(FIELD.sub(" ", line))
    text = LINK.sub(" ", ROLE.sub(r"\1", "\n".join(kept)))
    return " ".join(text.replace("`", " ").split())


class NameMask:
    """Masks names of libraries and modules.

    stems: masked wherever a word contains them, `__torch_function__` too.
    names: masked wherever they stand as a word.
    ordinary: names that are English words as well, such as `email`; masked only where they are used as names: in a
        dotted path, or beside the word `module` or `package`.
    """

    def __init__(self, stems: Iterable[str], names: Iterable[str], ordinary: Iterable[str]) -> None:
        self._stems = re.compile("|".join(re.escape(stem) for stem in stems), re.IGNORECASE)
        self._ordinary = frozenset(ordinary)
        self._always = frozenset(names) - self._ordinary
        self._names = self._always | self._ordinary
        self._masked: dict[str, str] = {}

    def apply(self, text: str) -> str:
        """The text with MASK for each name; `np.linalg.norm` becomes `norm`, `import numpy as np` becomes MASK."""
        text = IMPORT.sub(lambda match: MASK if self._imports(match.group()) else match.group(), text)
        text = DOTTED.sub(self._shorten, text)
        text = MODULE.sub(self._beside_module, text)
        return " ".join(WORD.sub(self._word, text).split())

    def _is_name(self, part: str) -> bool:
        return part.lower() in self._names or bool(self._stems.search(part))

    def _imports(self, statement: str) -> bool:
        return any(self._is_name(word) for word in re.split(r"[\s.]+", statement))

    def _shorten(self, match: re.Match[str]) -> str:
        parts = match.group().split(".")
        if not self._is_name(parts[0]):
            return match.group()
        last = max(index for index, part in enumerate(parts) if self._is_name(part))
        return ".".join(parts[last + 1 :]) or MASK

    def _beside_module(self, match: re.Match[str]) -> str:
        name = match.group("before") or match.group("after")
        return match.group().replace(name, MASK) if name.lower() in self._ordinary else match.group()

    def _word(self, match: re.Match[str]) -> str:
        word = match.group()
        masked = self._masked.get(word)
        if masked is None:
            hidden = word.lower() in self._always or self._stems.search(word)
            masked = self._masked[word] = MASK if hidden else word
        return masked
