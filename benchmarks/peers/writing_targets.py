"""What writes text, as a side of a pair: a server asked through gRPC, or a plan without any server."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from benchmarks.load.drive import Generator, LoadFailed
from benchmarks.load.measured import Measured
from benchmarks.load.measured_writing import Row, measure_calls, measure_rows
from benchmarks.load.plan import Prepared
from benchmarks.load.records import Records
from benchmarks.load.requests import RequestList
from benchmarks.load.writing import References, WritingList
from benchmarks.peers.generate_wire import TextWire
from benchmarks.peers.in_process_target import PlanTarget
from benchmarks.peers.orders import WANTED, read_texts
from benchmarks.peers.target import Command, DrivenTarget, Job


@dataclass(frozen=True, kw_only=True)
class WritingJob(Job):
    """One run that has text written, and what is right to write."""

    references: References | None
    """None: nothing but the lengths is known to be right, because the network is rounded in another way."""


class WritingServer(DrivenTarget):
    """Our server."""

    def __init__(
        self, make: Callable[[], Command], wire: TextWire, generator: Generator, probe: RequestList, log: Path
    ) -> None:
        super().__init__(make, generator, probe, log)
        self._wire = wire

    @override
    def prepare(self, requests: RequestList, port: int) -> Prepared:
        return self._wire.prepare(_writing(requests), port)

    @override
    def judge(self, job: Job, records: Records, server_cpu_s: float) -> Measured:
        if not isinstance(job, WritingJob) or job.references is None:
            raise LoadFailed("a server that writes text was asked for something else")
        cpu_s = {"server": server_cpu_s}
        return measure_calls(records, job.schedule, job.phase, self._wire.read, job.references, cpu_s=cpu_s)


class WritingPlan(PlanTarget):
    """A plan without a server."""

    @override
    def judge(self, job: Job, answers: Path, cpu_s: float) -> Measured:
        if not isinstance(job, WritingJob):
            raise LoadFailed("a plan that writes text was asked for something else")
        rows = (Row(text.request, text.began_s, text.done_s, text.ids.tolist()) for text in read_texts(str(answers)))
        return measure_rows(rows, job.phase, job.references, _writing(job.requests).wanted, cpu_s)

    @override
    def arrays(self, requests: RequestList) -> dict[str, NDArray[Any]]:
        return {**super().arrays(requests), WANTED: np.array(_writing(requests).wanted, dtype=np.int64)}


def _writing(requests: RequestList) -> WritingList:
    if not isinstance(requests, WritingList):
        raise LoadFailed("what writes text was given a list that asks for none")
    return requests
