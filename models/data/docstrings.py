"""Docstrings of installed packages, read from their source with `ast`: nothing is imported, so nothing runs."""

import ast
import importlib.util
import inspect
import sysconfig
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# Functions that attach a docstring to an object written in C.
ATTACHING_CALLS = frozenset({"add_newdoc", "add_docstr"})
TEST_PARTS = frozenset({"tests", "test", "testing", "conftest"})
# Shorter texts in an attaching call are names, not docstrings.
SHORTEST_ATTACHED = 40


@dataclass(frozen=True, slots=True)
class Docstring:
    """One docstring and the module whose source it stands in, such as `scipy.stats._qmc`."""

    module: str
    text: str


def source_files(name: str) -> Iterator[tuple[str, Path]]:
    """The modules below a dotted name with their files, sorted: (`json.decoder`, `.../json/decoder.py`), …

    `name` is a module or package, installed or of the standard library; nothing comes of one that is absent. Tests are
    left out.
    """
    top, *rest = name.split(".")
    base = _top_level(top).joinpath(*rest)
    if base.is_dir():
        for path in sorted(base.rglob("*.py")):
            parts = path.relative_to(base).with_suffix("").parts
            if not TEST_PARTS.intersection(parts) and not any(part.startswith("test_") for part in parts):
                yield ".".join((name, *(part for part in parts if part != "__init__"))), path
    elif (source := base.with_name(base.name + ".py")).is_file():
        yield name, source


def read_docstrings(name: str) -> Iterator[Docstring]:
    """The docstrings of the modules below a dotted name, in the order of their sources.

    Modules, classes, methods and functions; not functions inside functions. A file that this Python cannot parse is
    passed over.
    """
    for module, path in source_files(name):
        try:
            with warnings.catch_warnings():
                # Escapes that other people's source gets wrong are not ours to report.
                warnings.simplefilter("ignore")
                tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):
            continue
        yield from (Docstring(module, text) for text in _docstrings(tree))


def _top_level(name: str) -> Path:
    """Where a top-level module's source would lie, without importing it."""
    spec = importlib.util.find_spec(name)
    if spec is not None and spec.submodule_search_locations:
        return Path(spec.submodule_search_locations[0])
    return Path(sysconfig.get_paths()["stdlib"]) / name


def _docstrings(node: ast.Module | ast.ClassDef | ast.If | ast.Try) -> Iterator[str]:
    if isinstance(node, ast.Module | ast.ClassDef) and (own := ast.get_docstring(node)):
        yield own
    for child in node.body:
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            if text := ast.get_docstring(child):
                yield text
        elif isinstance(child, ast.ClassDef | ast.If | ast.Try):
            yield from _docstrings(child)
        elif isinstance(child, ast.Expr) and isinstance(child.value, ast.Call):
            yield from _attached(child.value)


def _attached(call: ast.Call) -> Iterator[str]:
    function = call.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    if name not in ATTACHING_CALLS:
        return
    for node in ast.walk(call):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) >= SHORTEST_ATTACHED:
            yield inspect.cleandoc(node.value)
            return
