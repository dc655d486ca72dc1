"""`docs-lm`: the documentation of what is installed, as texts to learn to write; nothing to download."""

import hashlib
import json
import platform
import random
import re
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from models.data.docstrings import read_docstrings
from models.data.errors import DataError
from models.data.splits import grouped_split
from models.data.texts import Texts

SOURCE = "docstrings and language reference of the installed Python, numpy, scipy, scikit-learn and torch"
COLUMNS = ("text",)
LIBRARIES = {"numpy": "numpy", "scipy": "scipy", "scikit-learn": "sklearn", "torch": "torch"}
"""Distributions, and the package that each installs."""
STANDARD_LIBRARY = """
    abc argparse array ast asyncio base64 bisect calendar cmd code codecs collections concurrent configparser
    contextlib copy csv ctypes dataclasses datetime decimal difflib dis email enum filecmp fileinput fnmatch
    fractions functools getopt getpass gettext glob graphlib gzip hashlib heapq html http imaplib importlib
    inspect io ipaddress json keyword linecache locale logging lzma mailbox mimetypes multiprocessing netrc
    numbers operator optparse os pathlib pdb pickle pkgutil platform plistlib poplib pprint profile pstats pydoc
    queue quopri random re runpy sched secrets selectors shelve shlex shutil signal smtplib socket socketserver
    sqlite3 ssl stat statistics string subprocess symtable sysconfig tarfile tempfile textwrap threading timeit
    token tokenize tomllib trace traceback tracemalloc types typing unittest urllib uuid venv warnings wave
    weakref webbrowser wsgiref xml xmlrpc zipapp zipfile zipimport zoneinfo"""
TOPICS = "pydoc_data.topics"
"""The module that holds the language reference, a text for each topic."""

SHORTEST = 120
"""Characters; shorter texts are names and stubs."""
LARGEST = 6_500_000
"""Characters of all documents that are used; modules are drawn until they have so many."""
VALIDATION_SHARE, TEST_SHARE = 0.03, 0.07
CACHE_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Document:
    """One text and the module, or the topic, that it documents."""

    module: str
    text: str


def collect_documents() -> list[Document]:
    """Every distinct docstring and topic, in a fixed order."""
    seen: set[str] = set()
    documents: list[Document] = []
    for name in (*STANDARD_LIBRARY.split(), *LIBRARIES.values()):
        for docstring in read_docstrings(name):
            _take(Document(docstring.module, docstring.text), documents, seen)
    for topic, text in sorted(_topics().items()):
        _take(Document(f"{TOPICS}.{topic}", text.strip()), documents, seen)
    return documents


def load_documents(cache: Path) -> list[Document]:
    """The documents of `collect_documents`, kept in `cache` until Python, a library or the choice changes.

    Raises DataError if there are none, because what is installed came without its source.
    """
    path = cache / f"documentation-{_cache_key()}.jsonl"
    if path.is_file():
        return [Document(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
    documents = collect_documents()
    if not documents:
        raise DataError(f"no documentation found: are {', '.join(LIBRARIES)} installed with their sources?")
    cache.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text("".join(json.dumps(asdict(document)) + "\n" for document in documents), encoding="utf-8")
    partial.replace(path)
    return documents


def documentation(cache: Path, seed: int) -> Texts:
    """Documents of `load_documents` from modules drawn at random, split so that no module is in two splits."""
    by_module: dict[str, list[str]] = {}
    for document in load_documents(cache):
        by_module.setdefault(document.module, []).append(document.text)
    modules = list(by_module)
    random.Random(f"documentation {seed}").shuffle(modules)
    texts: list[tuple[str, ...]] = []
    groups: list[str] = []
    room = LARGEST
    for module in modules:
        room -= sum(map(len, by_module[module]))
        if room < 0 and texts:
            break
        texts += [(text,) for text in by_module[module]]
        groups += [module] * len(by_module[module])
    split = grouped_split([""] * len(texts), groups, seed, VALIDATION_SHARE, TEST_SHARE)
    return Texts(SOURCE, COLUMNS, tuple(texts), split)


def _take(document: Document, documents: list[Document], seen: set[str]) -> None:
    """Adds what is long enough and, but for spacing and punctuation, new."""
    same = re.sub(r"\W+", "", document.text).lower()
    if len(document.text) >= SHORTEST and same not in seen:
        seen.add(same)
        documents.append(document)


def _topics() -> dict[str, str]:
    from pydoc_data.topics import topics  # half a megabyte, of no use to other commands

    return dict(topics)


def _cache_key() -> str:
    parts = [str(CACHE_FORMAT), platform.python_version(), STANDARD_LIBRARY, str(SHORTEST)]
    parts += [f"{library} {version(library)}" for library in LIBRARIES]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
