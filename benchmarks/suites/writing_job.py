"""One run of a model that writes: the list, and what each side is held against."""

from dataclasses import replace
from pathlib import Path

from benchmarks.load.schedule import Phase, Schedule
from benchmarks.load.writing import References
from benchmarks.peers.catalogue import Arm
from benchmarks.peers.writers import CTRANSLATE2
from benchmarks.peers.writing_requests import bundle_of, writing_list
from benchmarks.peers.writing_targets import WritingJob
from benchmarks.suites.cell import Suite
from benchmarks.suites.reference_texts import references

OTHER_KERNELS = 1e-3
"""The least tolerance for scores that another library has computed in fp32 from the same weights."""


def writing_job(arm: Arm, schedule: Schedule, phase: Phase, suite: Suite, cache: Path) -> WritingJob:
    """The job of one side of a cell."""
    requests = writing_list(arm.shape, suite.requests, suite.seed, cache)
    right: References | None = None
    if arm.target != CTRANSLATE2 or arm.precision == "fp32":
        right = references(bundle_of(arm.shape, cache), arm.precision, requests, cache)
    if right is not None and arm.target == CTRANSLATE2:
        right = replace(right, tolerance=max(right.tolerance, OTHER_KERNELS))
    return WritingJob(requests=requests, references=right, schedule=schedule, phase=phase, seed=suite.seed)
