"""Which release of the server this is."""

import importlib.metadata

PROJECT = "attendant"


def server_version() -> str:
    """The release of the installed project; `unknown` for a bare checkout."""
    try:
        return importlib.metadata.version(PROJECT)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
