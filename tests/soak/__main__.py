"""`python -m tests.soak --texts 20000`: prints how it went; status 1 where something was not as it must be."""

import argparse
import asyncio
import sys
import time
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from tests.soak.models import prepare
from tests.soak.run import SETTINGS, Soaked, soak
from tests.support.server_process import process

MOST_GROWTH = 0.05
"""By what share the server's memory may grow after the first tenth of the texts."""


def main() -> int:
    """Runs the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--texts", type=int, default=20_000)
    parser.add_argument("--reload-every", type=int, default=500, help="texts between two new versions")
    parser.add_argument("--at-once", type=int, default=24, help="callers at the same time")
    parser.add_argument("--prompts", type=int, default=40, help="of each model")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    with TemporaryDirectory() as folder:
        print("making models", flush=True)
        models = prepare(Path(folder), asked.prompts, asked.seed)
        begin = time.monotonic()
        with process(Path(folder), *SETTINGS) as server:
            found = asyncio.run(
                soak(
                    server,
                    models,
                    asked.texts,
                    at_once=asked.at_once,
                    reload_every=asked.reload_every,
                    seed=asked.seed,
                    say=lambda line: print(line, flush=True),
                )
            )
    return _judged(found, asked.texts, time.monotonic() - begin)


def _judged(found: Soaked, texts: int, seconds: float) -> int:
    outcomes, growth = found.outcomes, found.growth(texts // 10)
    print(f"{outcomes.count} texts in {seconds:.0f} s, {outcomes.tokens} tokens held against PyTorch's")
    for name, count in sorted(outcomes.ended.items()):
        print(f"  {name}: {count}")
    print(f"versions that answered: {len(outcomes.versions)}")
    print(f"memory after the first tenth: {100 * growth:+.1f} %")
    print(f"left over: {found.left_over or 'nothing'}")
    for line in outcomes.wrong[:20]:
        print(f"WRONG {line}")
    print(f"wrong: {len(outcomes.wrong)}")
    return int(bool(outcomes.wrong or found.left_over or growth > MOST_GROWTH or outcomes.count != texts))


if __name__ == "__main__":
    sys.exit(main())
