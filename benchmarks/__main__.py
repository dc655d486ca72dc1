"""`python -m benchmarks run|check|table|plot`: measures a suite, and reads what was measured.

python -m benchmarks run engine                    ours with batching on against off; about two minutes
python -m benchmarks run peers --peers mosec       ours against its peers; goes on where it was cut short
python -m benchmarks run generation                text written by ours, by CTranslate2, and without a server
python -m benchmarks check FILE                    recomputes every ratio from the raw repetitions
python -m benchmarks table FILE                    Markdown; with the reasons that FILE's notes.json gives
python -m benchmarks plot FILE                     a PNG beside the file
"""

import argparse
import sys
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

from benchmarks.load.build import ClientUnbuildable, build_client
from benchmarks.load.drive import Generator
from benchmarks.report.check import differences
from benchmarks.report.notes import notes_beside, read_notes
from benchmarks.report.plot import plot
from benchmarks.report.results import Results, ResultsUnreadable, read_results
from benchmarks.report.table import render

SUITES = ("engine", "peers", "generation")
CACHE = Path(".cache/benchmarks")
OK, FAILED, WRONG_USAGE = 0, 1, 2


def main(arguments: Sequence[str]) -> int:
    """Runs one command and returns its exit code."""
    options = _parser().parse_args(arguments)
    if options.command == "run":
        return _run(options)
    try:
        results = read_results(options.file)
    except ResultsUnreadable as error:
        return _fail(str(error))
    if options.command == "check":
        return _check(results)
    if options.command == "table":
        return _table(results, options.notes or notes_beside(options.file), asked=options.notes is not None)
    picture = options.out or options.file.with_suffix(".png")
    plot(results, picture)
    print(picture)
    return OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="measure a suite")
    run.add_argument("suite", choices=SUITES)
    run.add_argument("--cells", nargs="+", metavar="PATTERN", default=["*"], help="only these cells, as `fp32/mosec/*`")
    run.add_argument("--peers", default="", help="only these peers, separated by commas; empty: all")
    run.add_argument("--repetitions", type=int, metavar="PAIRS", help="pairs of runs for each cell, 5 at least")
    run.add_argument("--quick", action="store_true", help="two short pairs a cell: whether it works, not how fast")
    run.add_argument("--fresh", action="store_true", help="measure again what an earlier run has finished")
    run.add_argument("--list", action="store_true", help="list the cells and exit")
    run.add_argument("--cache", type=Path, default=CACHE, help="environments, models and finished cells")
    run.add_argument("--out", type=Path, help="the results file; default benchmarks/results/<date>-<suite>.json")
    for name, text in (("check", "recompute every ratio"), ("table", "print Markdown"), ("plot", "draw a PNG")):
        command = commands.add_parser(name, help=text)
        command.add_argument("file", type=Path)
        if name == "plot":
            command.add_argument("--out", type=Path)
        if name == "table":
            command.add_argument(
                "--notes",
                type=Path,
                help="why ratios are what they are, a JSON object by id; default FILE's notes.json",
            )
    return parser


def _run(options: argparse.Namespace) -> int:
    from benchmarks.peers.catalogue import PEERS  # and what is below it: torch takes seconds to import
    from benchmarks.peers.writers import WriterMaker
    from benchmarks.suites.engine import ENGINE
    from benchmarks.suites.generation import GENERATION
    from benchmarks.suites.peers import PEER_SUITE
    from benchmarks.suites.run import Bench

    suite = {"engine": ENGINE, "peers": PEER_SUITE, "generation": GENERATION}[options.suite]
    named = {name.strip() for name in options.peers.split(",") if name.strip()}
    if unknown := named - PEERS.keys():
        return _fail(f"no peer {', '.join(sorted(unknown))}; there are {', '.join(PEERS)}", WRONG_USAGE)
    dropped = set(PEERS) - named if named else set()
    chosen = [
        cell.id
        for cell in suite.cells
        if any(fnmatch(cell.id, pattern) for pattern in options.cells) and not dropped & set(cell.id.split("/"))
    ]
    if not chosen:
        return _fail(f"no cell of {suite.name} is like {' '.join(options.cells)}", WRONG_USAGE)
    if options.list:
        print("\n".join(chosen))
        return OK
    pairs = options.repetitions or (suite.quick_pairs if options.quick else suite.pairs)
    if pairs < 1 or (pairs < 5 and not options.quick):
        return _fail(f"{pairs} pairs are too few: 5 at least, or --quick", WRONG_USAGE)
    try:
        generator = Generator(build_client(options.cache))
    except ClientUnbuildable as error:
        return _fail(str(error))
    phase = suite.quick_phase if options.quick else suite.phase
    bench = Bench(suite, options.cache, WriterMaker(generator, options.cache).make, pairs, phase, options.quick)
    results = bench.run(chosen, fresh=options.fresh)
    path = options.out or _default_path(results)
    results.write(path)
    print(f"\n{render(results)}\n{path}")
    if any(cell.ratio for cell in results.cells):
        plot(results, path.with_suffix(".png"))
    return _check(results)


def _default_path(results: Results) -> Path:
    """Of a quick run below the cache: it is not to be kept by mistake."""
    name = f"{results.environment.date[:10]}-{results.suite}.json"
    return CACHE / f"quick-{name}" if results.quick else Path("benchmarks/results") / name


def _table(results: Results, notes: Path, *, asked: bool) -> int:
    try:
        told = read_notes(notes, results) if asked or notes.exists() else {}
    except ResultsUnreadable as error:
        return _fail(str(error))
    print(render(results, told), end="")
    return OK


def _check(results: Results) -> int:
    found = list(differences(results))
    for line in found:
        print(line, file=sys.stderr)
    if not found:
        print(f"{len(results.ratios)} ratios over {len(results.cells)} cells: all as their raw repetitions say")
    return FAILED if found else OK


def _fail(message: str, code: int = FAILED) -> int:
    print(message, file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
