"""Recomputes every ratio of a results file from its raw repetitions."""

import math
from collections.abc import Iterator

from benchmarks.report.results import RatioResult, Results, cell_ratio, headline_ratio

TOLERANCE = 1e-9
"""Relative; what is left of a number that was written as decimal text."""


def differences(results: Results) -> Iterator[str]:
    """A line for each ratio that the raw repetitions do not bear out; nothing where the file is right."""
    for cell in results.cells:
        if not _same(cell.ratio, cell_ratio(cell)):
            yield f"cell {cell.id}: {_told(cell.ratio)} is written, {_told(cell_ratio(cell))} is what its pairs give"
    for name, headline in results.ratios.items():
        again = headline_ratio(headline, results.cells)
        if not _same(headline.ratio, again.ratio):
            yield f"ratio {name}: {_told(headline.ratio)} is written, {_told(again.ratio)} is what its cells give"
        elif (headline.decided_by, headline.left_out) != (again.decided_by, again.left_out):
            yield f"ratio {name}: its cells are decided or left out otherwise than is written"
        elif headline.below_floor != again.below_floor:
            yield f"ratio {name}: cells below {headline.floor} are others than is written"


def _same(written: RatioResult | None, computed: RatioResult | None) -> bool:
    if written is None or computed is None:
        return written is computed
    return written.pairs == computed.pairs and all(
        math.isclose(getattr(written, name), getattr(computed, name), rel_tol=TOLERANCE)
        for name in ("value", "low", "high", "coverage")
    )


def _told(ratio: RatioResult | None) -> str:
    return "none" if ratio is None else f"{ratio.value:.4f} ({ratio.low:.4f} to {ratio.high:.4f})"
