"""The `attendant` command; says what to install where the plain client was installed without it."""

import sys


def main() -> None:
    """Runs the command line."""
    try:
        from attendant.cli import app
    except ModuleNotFoundError as missing:
        if (missing.name or "").split(".")[0] not in ("typer", "rich"):
            raise
        print("attendant: the command needs its extra: pip install 'attendant-client[cli]'", file=sys.stderr)
        sys.exit(2)
    app(prog_name="attendant")


if __name__ == "__main__":
    main()
