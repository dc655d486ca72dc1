"""The results file: all raw repetitions, and the ratios that they make."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from benchmarks.load.measured import Figure, Measured
from benchmarks.measure.environment import Environment
from benchmarks.measure.ratio import Ratio, geometric_mean, median_interval, paired_ratio
from benchmarks.suites.cell import Rule


class ResultsUnreadable(Exception):
    """The file is no results file of this version."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RatioResult(_Frozen):
    """A ratio as it was computed when the file was written."""

    value: float
    low: float
    high: float
    coverage: float
    """The probability that the true median lies between `low` and `high`."""
    pairs: int

    @classmethod
    def of(cls, ratio: Ratio) -> "RatioResult":
        """The same, as it is written."""
        return cls(value=ratio.value, low=ratio.low, high=ratio.high, coverage=ratio.coverage, pairs=ratio.pairs)


class Pair(_Frozen):
    """One repetition of both sides."""

    order: str
    """`AB` or `BA`: which ran first."""
    a: Measured
    b: Measured


class CellResult(_Frozen):
    """A measured cell."""

    id: str
    a: str
    """The arm's id."""
    b: str
    mix: str
    figure: Figure
    load_a: str
    """In words, such as `closed loop, 32 in flight`."""
    load_b: str
    may_refuse: bool = False
    """Whether calls that were refused are part of what is measured."""
    measured_at: str
    """ISO 8601, UTC; a run that was cut short and goes on has cells of several times."""
    pairs: tuple[Pair, ...]
    ratio: RatioResult | None
    """a over b; None where a side had no answer at all."""

    @property
    def sound(self) -> bool:
        """Whether all answers were right and, where refusing is not what is measured, all calls were answered."""
        runs = [run for pair in self.pairs for run in (pair.a, pair.b)]
        return all(not run.wrong if self.may_refuse else run.sound for run in runs)

    def figures(self, figure: Figure) -> list[tuple[float, float]]:
        """A figure of both sides of every pair."""
        return [(pair.a.figure(figure), pair.b.figure(figure)) for pair in self.pairs]


class HeadlineResult(_Frozen):
    """A ratio over cells."""

    title: str
    rule: Rule
    figure: Figure
    b_over_a: bool
    cells: tuple[str, ...]
    at_least: float
    aim: float
    ratio: RatioResult | None
    """None where no cell could be measured."""
    decided_by: str | None = None
    """The cell that the lowest ratio is of."""
    left_out: dict[str, str] = {}
    """Cells that do not count, with the reason."""
    floor: float | None = None
    """No cell's whole interval may lie below it; None: there is no such condition."""
    below_floor: tuple[str, ...] = ()
    """Cells whose whole interval does."""

    @property
    def reached(self) -> bool:
        """Whether the ratio is what it has to be, and no cell lies below the floor."""
        return self.ratio is not None and self.ratio.value >= self.at_least and not self.below_floor


class Ceiling(_Frozen):
    """What the load generator itself can do, measured against the bare echo."""

    requests_per_s: float
    """Reached against the echo, which is what limits it."""
    client_cpu_us_per_request: float
    requests_per_s_of_one_core: float
    """One over the processor time of a request: where the client itself would be the limit."""


class Results(_Frozen):
    """One run of a suite."""

    schema_version: int = 1
    suite: str
    quick: bool
    """A quick run shows that everything works; its numbers mean nothing."""
    environment: Environment
    peers: dict[str, str]
    """Versions by name."""
    seed: int
    requests: int
    ceiling: Ceiling | None
    unavailable: dict[str, str] = {}
    """Cells that could not be measured, with the reason."""
    cells: tuple[CellResult, ...]
    ratios: dict[str, HeadlineResult]

    def write(self, path: Path) -> None:
        """Writes the file, in place of one that was there."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")


def read_results(path: Path) -> Results:
    """Reads a results file. Raises ResultsUnreadable."""
    try:
        return Results.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ResultsUnreadable(f"{path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise ResultsUnreadable(f"{path} is not a results file of this version: {where}: {first['msg']}") from error


def cell_ratio(cell: CellResult, figure: Figure | None = None, *, b_over_a: bool = False) -> RatioResult | None:
    """The ratio of a cell, from its raw repetitions; None where a side had no answer in one of them."""
    pairs = cell.figures(figure or cell.figure)
    if b_over_a:
        pairs = [(b, a) for a, b in pairs]
    try:
        return RatioResult.of(paired_ratio(pairs))
    except ValueError:
        return None


def headline_ratio(headline: HeadlineResult, cells: Sequence[CellResult]) -> HeadlineResult:
    """The headline with its ratio, and the cells that decided it, were left out or lie too low, all from the pairs."""
    by_id = {cell.id: cell for cell in cells}
    counted: dict[str, RatioResult] = {}
    left_out: dict[str, str] = {}
    for name in headline.cells:
        cell = by_id.get(name)
        ratio = None if cell is None else cell_ratio(cell, headline.figure, b_over_a=headline.b_over_a)
        if cell is None:
            left_out[name] = "not measured"
        elif not cell.sound:
            left_out[name] = "not every answer was right"
        elif ratio is None:
            left_out[name] = "a side had no answer"
        else:
            counted[name] = ratio
    found: RatioResult | None = None
    decided_by: str | None = None
    if counted and headline.rule == "lowest":
        decided_by = min(counted, key=lambda name: counted[name].value)
        found = counted[decided_by]
    elif counted:
        rows = [[a / b for a, b in by_id[name].figures(headline.figure)] for name in counted]
        found = RatioResult.of(geometric_mean(rows) if len(rows) > 1 else median_interval(rows[0]))
    low = tuple(name for name, ratio in counted.items() if headline.floor is not None and ratio.high < headline.floor)
    computed = {"ratio": found, "decided_by": decided_by, "left_out": left_out, "below_floor": low}
    return headline.model_copy(update=computed)
