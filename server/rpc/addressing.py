"""From the names on the wire to the version that serves: model, and version as a number, an alias, or nothing."""

import re

from server.errors import ModelNotFound, VersionNotFound
from server.manifest import ALIAS_PATTERN, MODEL_NAME_PATTERN
from server.registry import Registry
from server.servable import Servable

MAX_VERSION_DIGITS = 18
"""Versions fit a signed 64-bit integer."""
_MODEL_NAME = re.compile(MODEL_NAME_PATTERN)
_ALIAS = re.compile(ALIAS_PATTERN)


def find(registry: Registry, name: str, version: str) -> Servable:
    """The version that a protocol's name and version text mean: empty, decimal digits, or an alias.

    Raises ModelNotFound, VersionNotFound, ModelNotReady.
    """
    checked = checked_name(name)
    if not version:
        return registry.resolve(checked)
    if version.isascii() and version.isdigit() and len(version) <= MAX_VERSION_DIGITS and int(version) > 0:
        return registry.resolve(checked, version=int(version))
    return registry.resolve(checked, alias=checked_alias(checked, version))


def checked_name(name: str) -> str:
    """The name, if a model can have it: nothing that could reach outside the store gets any further.

    Raises ModelNotFound.
    """
    if not _MODEL_NAME.fullmatch(name):
        raise ModelNotFound(f"no model {shown(name)}" if name else "the request names no model")
    return name


def checked_alias(name: str, alias: str) -> str:
    """The alias, if a version can have it. Raises VersionNotFound."""
    if not _ALIAS.fullmatch(alias):
        raise VersionNotFound(f"model {name!r} has no version {shown(alias)}")
    return alias


def shown(text: str) -> str:
    """A caller's text, short enough for a message."""
    return repr(text if len(text) <= 64 else text[:61] + "...")
