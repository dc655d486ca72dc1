"""docs/errors.md has a row for every error, with its code, its reason, its retry and its metadata; and no others."""

import ast
import re
from pathlib import Path

import pytest

from server import errors
from server.errors import Overloaded, ServeError, Unavailable
from server.rpc.status import CODES, UNEXPECTED

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
CALLER_DECIDES = (errors.DeadlineExpired, errors.RequestCancelled)


def rows() -> dict[str, tuple[str, str, str, str]]:
    table = PAGE.split("## ")[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if "|" in line]
    return {row[0].partition(":")[0]: (row[1], row[2], row[3], row[4]) for row in cells[2:]}


@pytest.mark.parametrize("kind", CODES)
def test_every_error_is_documented_with_code_reason_and_retry(kind: type[ServeError]):
    code, reason, retry, _ = rows()[kind.__name__]
    assert (code, reason) == (CODES[kind].name, kind.reason)
    if kind in CALLER_DECIDES:
        assert retry == "caller decides"
    elif issubclass(kind, Overloaded):
        assert retry == "after the hint"
    else:
        assert retry == ("yes" if issubclass(kind, Unavailable) else "no")


def test_no_row_without_an_error():
    assert rows().keys() == {kind.__name__ for kind in CODES} | {"anything else"}
    assert rows()["anything else"][:2] == ("INTERNAL", UNEXPECTED)


def keys_in_source() -> set[tuple[str, str]]:
    """(error, metadata key) wherever the server makes an error with a literal dictionary."""
    known = {kind.__name__ for kind in CODES}
    found = set()
    for path in (ROOT / "server").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or len(node.args) < 2 or not isinstance(node.args[1], ast.Dict):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in known:
                found |= {(name, key.value) for key in node.args[1].keys if isinstance(key, ast.Constant)}
    return found


def test_every_metadata_key_is_documented():
    used = keys_in_source()
    assert ("RowLimitExceeded", "max_rows") in used
    undocumented = {(name, key) for name, key in used if f"`{key}`" not in rows()[name][3]}
    assert not undocumented


def test_reasons_are_words_in_capitals():
    for _, reason, _, _ in rows().values():
        assert re.fullmatch(r"[A-Z]+(_[A-Z]+)*", reason)
