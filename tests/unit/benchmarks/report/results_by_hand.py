"""A small results file, made from a few runs."""

import numpy as np

from benchmarks.load.latency import encode
from benchmarks.load.measured import Measured
from benchmarks.measure.environment import Environment
from benchmarks.report.results import CellResult, HeadlineResult, Pair, Results, cell_ratio, headline_ratio

ENVIRONMENT = Environment(
    date="2026-01-02T03:04:05Z",
    command="python -m benchmarks run engine",
    git_revision=None,
    system="Linux",
    processor="a processor",
    instruction_sets=(),
    cores=2,
    memory_gib=4.0,
    versions={"python": "3.11"},
)


def latencies(seconds: float, calls: int = 10) -> str:
    return encode(np.full(calls, seconds))


def run(tokens: int, p99_s: float = 0.01, **changes) -> Measured:
    fields = {
        "seconds": 2.0,
        "answered": 10,
        "useful_tokens": tokens,
        "in_time": 10,
        "latencies": latencies(p99_s),
    }
    return Measured(**(fields | changes))


def cell(name: str, *pairs: tuple[Measured, Measured]) -> CellResult:
    made = CellResult(
        id=name,
        a="ours/on",
        b="peer/plain",
        mix="mixed",
        figure="tokens_per_s",
        load_a="closed loop, 32 in flight",
        load_b="closed loop, 32 in flight",
        measured_at=ENVIRONMENT.date,
        pairs=tuple(Pair(order="AB", a=a, b=b) for a, b in pairs),
        ratio=None,
    )
    return made.model_copy(update={"ratio": cell_ratio(made)})


def headline(*cells: str, **changes) -> HeadlineResult:
    fields = {
        "title": "a over b",
        "rule": "lowest",
        "figure": "tokens_per_s",
        "b_over_a": False,
        "cells": cells,
        "at_least": 1.0,
        "aim": 2.0,
        "ratio": None,
    }
    return HeadlineResult(**(fields | changes))


def results(*cells: CellResult, **headlines: HeadlineResult) -> Results:
    return Results(
        suite="engine",
        quick=False,
        environment=ENVIRONMENT,
        peers={},
        seed=1,
        requests=10,
        ceiling=None,
        cells=cells,
        ratios={name: headline_ratio(made, cells) for name, made in headlines.items()},
    )
