"""Writes `docs/settings.md` from the settings tree: `python -m docs.settings`."""

import json
from collections.abc import Iterator
from pathlib import Path

from pydantic.fields import FieldInfo

from server.settings import PREFIX, Settings

PAGE = Path(__file__).parent / "settings.md"

INTRODUCTION = """# Settings

Every setting of `python -m server`, as a flag and as an environment variable; a flag wins over the environment, which
wins over the default. Lists are given as JSON or, as a flag, by repeating it. An unknown variable with the prefix and
`__` in its name is refused at start, because it can only be a mistyped setting; other unknown ones are warned of.
Per-model tuning (`batching` in the manifest) applies where it is stricter than what is set here.

This page is written by `python -m docs.settings`.
"""


def render() -> str:
    """The whole page."""
    return "\n".join([INTRODUCTION, *_groups()])


def _groups() -> Iterator[str]:
    for group, info in Settings.model_fields.items():
        fields: dict[str, FieldInfo] = getattr(info.annotation, "model_fields", {})
        yield f"## {group}\n\n{info.description}\n"
        yield "| flag | variable | default | bounds | meaning |\n| --- | --- | --- | --- | --- |"
        for name, field in fields.items():
            flag = f"--{group}.{name.replace('_', '-')}"
            variable = f"{PREFIX}{group}__{name}".upper()
            yield f"| `{flag}` | `{variable}` | `{_default(field)}` | {_bounds(field)} | {field.description} |"
        yield ""


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    return json.dumps(value if isinstance(value, str | int | float | bool | tuple | list | dict) else str(value))


def _bounds(field: FieldInfo) -> str:
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    found = [
        f"{sign} {getattr(rule, key)}" for rule in field.metadata for key, sign in signs.items() if hasattr(rule, key)
    ]
    choices = getattr(field.annotation, "__args__", ()) if "Literal" in str(field.annotation) else ()
    return ", ".join(found) or ", ".join(f"`{choice}`" for choice in choices) or "–"


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
