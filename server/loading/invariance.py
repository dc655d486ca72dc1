"""Does a row's answer depend on its neighbours? Asked of each variant at load, on this host."""

from collections.abc import Mapping

import numpy as np

from server.batching.request import Rows
from server.batching.variant import BatchLimits, Variant
from server.loading.samples import Samples
from server.tensors import Array

COMPANY = (1.0, 0.3, 0.7, 0.05, 0.5)
"""Lengths of the rows that are run together, as shares of the longest to measure at."""
LONGEST = 64
LOW_PRECISION_SHARE = 0.05
"""Of an output's largest element: how far bf16 and int8 may move with the company, whose scales and blocking differ."""


def depends_on_company(
    variant: Variant, alone: Variant, samples: Samples, limits: BatchLimits, tolerance: float
) -> float | None:
    """The largest difference between rows together on `variant` and each by itself on `alone`, where it is too large.

    None where all differences are within the tolerance: the graph's own for fp32, a share of the output's largest
    element for lower precisions. Raises what a run raises.
    """
    longest = min(samples.longest, LONGEST)
    lengths = [max(1, round(share * longest)) for share in COMPANY][: max(2, limits.max_rows)]
    rows = [samples.rows(1, length, variant.usual_outputs, first) for first, length in enumerate(lengths)]
    together = _run(variant, rows)
    worst = 0.0
    for row, answer in zip(rows, together, strict=True):
        (single,) = _run(alone, [row])
        for name, expected in single.items():
            difference, scale = _difference(answer[name], expected)
            allowed = tolerance if variant.precision == "fp32" else max(tolerance, LOW_PRECISION_SHARE * scale)
            if not difference <= allowed:
                worst = max(worst, difference) if np.isfinite(difference) else float("inf")
    return worst or None


def _run(variant: Variant, rows: list[Rows]) -> list[Mapping[str, Array]]:
    layout = variant.layout
    return list(layout.split(variant.run(layout.collate(rows), rows[0].outputs, None), rows))


def _difference(answer: Array, expected: Array) -> tuple[float, float]:
    """(largest difference, largest element); equal NaN do not differ, texts differ by infinity or not at all."""
    if answer.shape != expected.shape or answer.dtype != expected.dtype:
        return float("inf"), 0.0
    if answer.dtype.kind not in "fiub":
        return (0.0 if answer.tolist() == expected.tolist() else float("inf")), 0.0
    if not answer.size:
        return 0.0, 0.0
    left, right = answer.astype(np.float64), expected.astype(np.float64)
    both_nan = np.isnan(left) & np.isnan(right)
    with np.errstate(invalid="ignore"):
        gaps = np.where(both_nan | (left == right), 0.0, np.abs(left - right))
    return float(np.where(np.isnan(gaps), np.inf, gaps).max()), float(np.abs(np.nan_to_num(right)).max())
