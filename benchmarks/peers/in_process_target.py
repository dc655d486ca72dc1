"""The plans of `in_process` and `without_grpc` as a side of a pair; each run is a process of its own."""

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from typing_extensions import override

from benchmarks.load.drive import LoadFailed
from benchmarks.load.measured import Measured
from benchmarks.load.schedule import Closed
from benchmarks.load.verdict import cosine_of
from benchmarks.peers.encoder import PRECISION
from benchmarks.peers.ours import ROOT
from benchmarks.peers.target import Job, Target

SPARE_S = 120.0


class InProcessTarget(Target):
    """A plan of a module that runs it, in closed loop alone: without a server there is nobody to be late for."""

    def __init__(self, module: str, plan: str, graph: Path, precision: str) -> None:
        self._module, self._plan, self._graph, self._precision = module, plan, graph, precision

    @override
    def start(self) -> None:
        """Nothing stays between runs."""

    @override
    def stop(self) -> None:
        """Nothing stays between runs."""

    @override
    def cpu_s(self) -> float:
        return 0.0

    @override
    def measure(self, job: Job) -> Measured:
        if not isinstance(job.schedule, Closed):
            raise LoadFailed(f"the plan {self._plan} has no open loop")
        with TemporaryDirectory(prefix="attendant-plan-") as scratch:
            rows, answers = Path(scratch) / "rows.npz", Path(scratch) / "answers.npz"
            np.savez(rows, **{str(number): ids for number, ids in enumerate(job.requests.rows)})  # type: ignore[arg-type]
            phase = job.phase
            command = [sys.executable, "-m", self._module, self._plan, str(self._graph), str(rows)]
            command += [str(phase.warm_up_s), str(phase.measured_s), str(answers), str(job.schedule.in_flight)]
            try:
                ended = subprocess.run(
                    command,
                    env={"PYTHONPATH": str(ROOT), PRECISION: self._precision, "PATH": ""},
                    capture_output=True,
                    text=True,
                    timeout=phase.end_s + SPARE_S,
                    check=False,
                )
            except subprocess.TimeoutExpired as error:
                raise LoadFailed(f"the plan {self._plan} was still running after {error.timeout:.0f} s") from error
            if ended.returncode != 0:
                raise LoadFailed(f"the plan {self._plan} ended with {ended.returncode}: {ended.stderr.strip()[-300:]}")
            with np.load(answers, allow_pickle=False) as archive:
                return _measured(job, archive["requests"], archive["vectors"], json.loads(ended.stdout)["cpu_s"])


def _measured(
    job: Job, requests: "np.ndarray[tuple[int], np.dtype[np.int64]]", vectors: object, cpu_s: float
) -> Measured:
    answers = np.asarray(vectors, dtype=np.float32)
    tokens = right = 0
    worst_error, worst_cosine = 0.0, 1.0
    for number, vector in zip(requests.tolist(), answers, strict=True):
        expected = job.reference[number]
        error, cosine = float(np.abs(vector - expected).max()), cosine_of(vector, expected)
        worst_error, worst_cosine = max(worst_error, error), min(worst_cosine, cosine)
        if error <= job.tolerance.max_error and cosine >= job.tolerance.min_cosine:
            right += 1
            tokens += len(job.requests.rows[number])
    return Measured(
        seconds=job.phase.measured_s,
        answered=right,
        useful_tokens=tokens,
        in_time=right,
        wrong=len(answers) - right,
        max_error=worst_error,
        min_cosine=worst_cosine,
        cpu_s={"server": cpu_s},
    )
