"""`python -m deploy.grafana` writes the dashboards; with `--check` it says which of them are stale instead."""

import argparse
import sys
from pathlib import Path

from deploy.grafana import generation, model, overview

FOLDER = Path(__file__).parent / "dashboards"


def generated() -> dict[str, str]:
    """The text of every dashboard, by file name."""
    return {
        "overview.json": overview.dashboard(),
        "model.json": model.dashboard(),
        "generation.json": generation.dashboard(),
    }


def stale() -> list[str]:
    """The files that are missing, differ from what is generated, or are no longer generated."""
    kept = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.json")}
    fresh = generated()
    return sorted(name for name in kept.keys() | fresh.keys() if kept.get(name) != fresh.get(name))


def main() -> int:
    """Writes or checks; the exit code is 1 where a checked file is stale."""
    parser = argparse.ArgumentParser(prog="python -m deploy.grafana", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a file is stale")
    if parser.parse_args().check:
        for name in stale():
            print(f"{name} is stale: run python -m deploy.grafana")
        return int(bool(stale()))
    for name in stale():
        (FOLDER / name).unlink(missing_ok=True)
    for name, text in generated().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
