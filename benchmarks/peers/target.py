"""Something that answers requests and can be measured: a server behind a port, or a plan without any server."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from typing_extensions import override

from benchmarks.load.drive import Generator, LoadFailed, once
from benchmarks.load.measured import Measured, measure
from benchmarks.load.plan import Prepared
from benchmarks.load.records import Outcome, Records
from benchmarks.load.requests import RequestList
from benchmarks.load.schedule import Phase, Schedule
from benchmarks.load.verdict import Tolerance, Vector
from benchmarks.peers.process import ServerProcess
from benchmarks.peers.wire import Wire


@dataclass(frozen=True, kw_only=True)
class Job:
    """One run: what is sent, and when."""

    requests: RequestList
    schedule: Schedule
    phase: Phase
    seed: int = 0
    """Of the arrivals in an open loop."""
    deadline_s: float | None = None
    """Told to the server where it speaks gRPC; answers after it do not count as in time."""


@dataclass(frozen=True, kw_only=True)
class EmbeddingJob(Job):
    """One run that asks for embeddings, and what the right answers are."""

    reference: Sequence[Vector]
    tolerance: Tolerance


class Target(ABC):
    """One side of a pair."""

    @abstractmethod
    def start(self) -> None:
        """Gets ready to answer. Raises PeerUnavailable."""

    @abstractmethod
    def stop(self) -> None:
        """Gives everything back; harmless where it was never started."""

    @abstractmethod
    def measure(self, job: Job) -> Measured:
        """One run. Raises LoadFailed."""

    @abstractmethod
    def cpu_s(self) -> float:
        """Processor time so far; of what rests between its runs it should not grow."""


@dataclass(frozen=True)
class Command:
    """How a server is started."""

    title: str
    arguments: Sequence[str]
    variables: Mapping[str, str]
    port: int


class DrivenTarget(Target):
    """A server on loopback, driven by the compiled client."""

    def __init__(self, make: Callable[[], Command], generator: Generator, probe: RequestList, log: Path) -> None:
        self._make, self._generator, self._probe, self._log = make, generator, probe, log
        self._process: ServerProcess | None = None
        self._port = 0

    @override
    def start(self) -> None:
        command = self._make()  # Installing a peer and finding a free port come only now.
        self._port = command.port
        self._process = ServerProcess(command.title, command.arguments, command.variables, self._log)
        try:
            self._process.wait_until(self._answers)
        except BaseException:
            self.stop()
            raise

    @override
    def stop(self) -> None:
        if self._process is not None:
            self._process.stop()
            self._process = None

    @override
    def measure(self, job: Job) -> Measured:
        before = self.cpu_s()
        prepared = self.prepare(job.requests, self._port)
        if job.deadline_s is not None:
            prepared = replace(prepared, headers={"grpc-timeout": f"{round(job.deadline_s * 1000)}m"})
        records = self._generator.drive(prepared, job.schedule, job.phase, job.seed)
        return self.judge(job, records, self.cpu_s() - before)

    @abstractmethod
    def prepare(self, requests: RequestList, port: int) -> Prepared:
        """The requests as the client sends them."""

    @abstractmethod
    def judge(self, job: Job, records: Records, server_cpu_s: float) -> Measured:
        """What a run comes to, every answer checked. Raises LoadFailed for a job of another kind."""

    @override
    def cpu_s(self) -> float:
        return 0.0 if self._process is None else self._process.cpu_s()

    def _answers(self) -> bool:
        """Whether a first request is answered; whether it is right, the runs will show."""
        prepared = self.prepare(self._probe, self._port)
        try:
            records = once(self._generator, replace(prepared, requests=prepared.requests[:1]))
        except LoadFailed:
            return False
        return bool(len(records.calls)) and int(records.calls[-1]["outcome"]) == Outcome.ANSWERED


class ServerTarget(DrivenTarget):
    """A server that gives embeddings."""

    def __init__(
        self, make: Callable[[], Command], wire: Wire, generator: Generator, probe: RequestList, log: Path
    ) -> None:
        super().__init__(make, generator, probe, log)
        self._wire = wire

    @override
    def prepare(self, requests: RequestList, port: int) -> Prepared:
        return self._wire.prepare(requests.rows, port)

    @override
    def judge(self, job: Job, records: Records, server_cpu_s: float) -> Measured:
        if not isinstance(job, EmbeddingJob):
            raise LoadFailed("a server that gives embeddings was asked for something else")
        return measure(
            records,
            job.schedule,
            job.phase,
            job.requests.lengths.tolist(),
            self._wire.read,
            job.reference,
            job.tolerance,
            deadline_s=job.deadline_s,
            cpu_s={"server": server_cpu_s},
        )
