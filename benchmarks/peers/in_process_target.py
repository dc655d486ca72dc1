"""The plans of `in_process` and `without_grpc` as a side of a pair: a process that waits between its runs."""

from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from benchmarks.load.drive import LoadFailed
from benchmarks.load.measured import Measured
from benchmarks.load.requests import RequestList
from benchmarks.load.schedule import Closed
from benchmarks.load.verdict import Vector, cosine_of
from benchmarks.peers.adapter import PeerUnavailable
from benchmarks.peers.orders import READY, Order
from benchmarks.peers.process import ServerProcess
from benchmarks.peers.target import Command, EmbeddingJob, Job, Target

SPARE_S = 120.0
"""What a run may take beyond its schedule; the first of a list prepares itself for every shape in it."""


class PlanTarget(Target):
    """A plan in closed loop alone: without a server there is nobody to be late for."""

    def __init__(self, make: Callable[[Path], Command], log: Path) -> None:
        """`make` gets the folder through which orders and answers go."""
        self._make, self._log = make, log
        self._process: ServerProcess | None = None
        self._scratch: TemporaryDirectory[str] | None = None

    @override
    def start(self) -> None:
        self._scratch = TemporaryDirectory(prefix="attendant-plan-")
        ready = self._folder / READY
        try:
            command = self._make(self._folder)
            self._process = ServerProcess(command.title, command.arguments, command.variables, self._log, told=True)
            self._process.wait_until(ready.exists)
        except BaseException:
            self.stop()
            raise

    @override
    def stop(self) -> None:
        if self._process is not None:
            self._process.stop()
            self._process = None
        if self._scratch is not None:
            self._scratch.cleanup()
            self._scratch = None

    @override
    def cpu_s(self) -> float:
        return 0.0 if self._process is None else self._process.cpu_s()

    @override
    def measure(self, job: Job) -> Measured:
        if self._process is None or not isinstance(job.schedule, Closed):
            raise LoadFailed("a plan without a server knows a closed loop alone, and must have been started")
        answers = self._folder / "answers.npz"
        answers.unlink(missing_ok=True)
        before = self.cpu_s()
        phase = job.phase
        rows = self._rows(job.requests)
        order = Order(str(rows), str(answers), phase.warm_up_s, phase.measured_s, job.schedule.in_flight)
        self._process.tell(order.line())
        try:
            self._process.wait_until(answers.exists, phase.end_s + SPARE_S, "run")
        except PeerUnavailable as error:
            raise LoadFailed(str(error)) from error
        return self.judge(job, answers, self.cpu_s() - before)

    @abstractmethod
    def judge(self, job: Job, answers: Path, cpu_s: float) -> Measured:
        """What a run comes to, every answer checked. Raises LoadFailed for a job of another kind."""

    def arrays(self, requests: RequestList) -> dict[str, NDArray[Any]]:
        """What the plan is told of a list: the ids of each request by its number."""
        return {str(number): ids for number, ids in enumerate(requests.rows)}

    @property
    def _folder(self) -> Path:
        assert self._scratch is not None, "it was not started"
        return Path(self._scratch.name)

    def _rows(self, requests: RequestList) -> Path:
        """The list as a file, written when it first comes."""
        path = self._folder / f"rows-{requests.digest()[:16]}.npz"
        if not path.exists():
            np.savez(path, allow_pickle=False, **self.arrays(requests))
        return path


class InProcessTarget(PlanTarget):
    """A plan that gives embeddings."""

    @override
    def judge(self, job: Job, answers: Path, cpu_s: float) -> Measured:
        if not isinstance(job, EmbeddingJob):
            raise LoadFailed("a plan that gives embeddings was asked for something else")
        with np.load(answers, allow_pickle=False) as archive:
            return _measured(job, archive["requests"], archive["vectors"], cpu_s)


def _measured(job: EmbeddingJob, requests: NDArray[np.int64], vectors: Vector, cpu_s: float) -> Measured:
    tokens = right = 0
    worst_error, worst_cosine = 0.0, 1.0
    for number, vector in zip(requests.tolist(), vectors, strict=True):
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
        wrong=len(vectors) - right,
        max_error=worst_error,
        min_cosine=worst_cosine,
        cpu_s={"server": cpu_s},
    )
