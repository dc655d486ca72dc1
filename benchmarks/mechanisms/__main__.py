"""What does each mechanism cost, in time and memory, against the length of its input?

Runs every catalogued mechanism forward and forward and backward in PyTorch, and forward in ONNX Runtime, one thread
each, beside a reference in interleaved pairs ABBA; takes the peak of memory of each; writes all repetitions as JSON,
and curves as PNG beside it.

    python -m benchmarks.mechanisms                 # into benchmarks/results
    python -m benchmarks.mechanisms --quick         # whether it works; its numbers mean nothing
    python -m benchmarks.mechanisms --table FILE    # the tables of a results file, as Markdown
    python -m benchmarks.mechanisms --curves FILE   # its curves, drawn anew
"""

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from benchmarks.measure.environment import environment
from benchmarks.measure.interleave import LEAST_PAIRS
from benchmarks.mechanisms.curves import CLAIMS, by_family, draw
from benchmarks.mechanisms.measure import Bench
from benchmarks.mechanisms.results import Results, load, save
from benchmarks.mechanisms.subjects import SCALE, Subject, all_subjects, subject, with_references
from benchmarks.mechanisms.table import render

OUT = Path("benchmarks/results")
QUICK_OUT = Path("runs/benchmarks")

LENGTHS = (64, 128, 256, 512, 1024, 2048, 4096)
COARSE_LENGTHS = (64, 256, 1024, 2048)
STEPWISE_LENGTHS = (64, 256, 1024)
"""Of recurrent networks, which run position after position."""
QUICK_LENGTHS = (64, 256)
CLAIMED = tuple(dict.fromkeys(name for names in CLAIMS.values() for name in names))
"""Measured first, so that they are there if the time is up."""

POINT_S = 0.2
"""How long one subject is timed beside its reference at one length, in one way of running; six pairs at least."""
MAX_PAIRS = 40


def main() -> None:
    """Measures, or shows what was measured."""
    options = arguments()
    if options.table is not None:
        print(render(load(options.table)), end="")
    elif options.curves is not None:
        draw_all(load(options.curves), options.curves)
    else:
        names = options.only or (CLAIMED if options.quick else [*CLAIMED, *(one.name for one in all_subjects())])
        results = measure([subject(name) for name in names], quick=options.quick, limit_s=60 * options.minutes)
        out: Path = options.out or (QUICK_OUT if options.quick else OUT)
        path = out / f"{results.about['environment']['date'][:10]}-mechanisms.json"
        save(results, path)
        draw_all(results, path)
        print(f"wrote {path} and its curves")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few mechanisms, short inputs, few repetitions")
    names = [one.name for one in all_subjects()]
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", choices=names, help="these mechanisms, and what they are timed beside"
    )
    parser.add_argument(
        "--minutes", type=float, default=10, help="what is not begun by then is left out; by default 10"
    )
    parser.add_argument("--out", type=Path, help=f"the folder to write into, by default {OUT}, quick {QUICK_OUT}")
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--table", type=Path, metavar="FILE", help="measure nothing: print the tables of this file")
    shown.add_argument("--curves", type=Path, metavar="FILE", help="measure nothing: draw the curves of this file")
    return parser.parse_args()


def measure(subjects: Sequence[Subject], *, quick: bool, limit_s: float) -> Results:
    """Measures the subjects, and the references that they need; no point is begun after `limit_s`."""
    torch.set_num_threads(1)
    results = Results(about())
    # References first, because the others are timed beside them.
    chains = sorted(map(with_references, subjects), key=len)
    references = [one.name for chain in chains for one in chain[:-1]]
    wanted = [subject(name) for name in dict.fromkeys([*references, *(one.name for one in subjects)])]
    pairs, point_s = (LEAST_PAIRS, 0.0) if quick else (MAX_PAIRS, POINT_S)
    with TemporaryDirectory() as scratch:
        bench = Bench(results, SCALE, Path(scratch), point_s=point_s, max_pairs=pairs, limit_s=limit_s)
        for number, one in enumerate(wanted, start=1):
            print(f"{number}/{len(wanted)} {one.name}", flush=True)
            bench.measure(one, QUICK_LENGTHS if quick else lengths(one))
    return results


def lengths(one: Subject) -> Sequence[int]:
    """Far and close together where the question is from which length on one is cheaper than another."""
    if one.family == "recurrent":
        return STEPWISE_LENGTHS
    return LENGTHS if one.family == "long inputs" or one.name in CLAIMED else COARSE_LENGTHS


def about() -> dict[str, object]:
    """Where, when, with what and how large."""
    return {"environment": environment().model_dump(mode="json"), "threads": 1, "scale": asdict(SCALE)}


def draw_all(results: Results, path: Path) -> None:
    """Draws the claims and all families, beside the results' file."""
    draw(results, CLAIMS, path.with_suffix(".png"))
    draw(results, by_family(), path.with_name(f"{path.stem}-families.png"))


if __name__ == "__main__":
    main()
