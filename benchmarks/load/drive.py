"""Runs the compiled client once, as a process of its own."""

import subprocess
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.load.plan import Prepared, write_plan
from benchmarks.load.records import Records, read_records
from benchmarks.load.schedule import Closed, Phase, Schedule

CANNOT_CONNECT = 3
SPARE_S = 30.0
"""What a run may take beyond its schedule and the last call's timeout before it is taken for stuck."""


class LoadFailed(Exception):
    """The client did not run to its end; the message says why."""


class NobodyListens(LoadFailed):
    """Nothing listens on the port."""


@dataclass(frozen=True)
class Generator:
    """The compiled client, ready to be run."""

    executable: Path

    def drive(self, prepared: Prepared, schedule: Schedule, phase: Phase, seed: int = 0) -> Records:
        """One run, from the first send to the last answer; blocks until then.

        Raises NobodyListens, LoadFailed.
        """
        with TemporaryDirectory(prefix="attendant-load-") as scratch:
            plan, records = Path(scratch) / "plan", Path(scratch) / "records"
            write_plan(plan, prepared, schedule, phase, seed)
            try:
                ended = subprocess.run(
                    [str(self.executable), str(plan), str(records)],
                    capture_output=True,
                    text=True,
                    timeout=phase.last_s + phase.timeout_s + SPARE_S,
                    check=False,
                )
            except subprocess.TimeoutExpired as error:
                raise LoadFailed(f"the client was still running after {error.timeout:.0f} s") from error
            if ended.returncode == CANNOT_CONNECT:
                raise NobodyListens(ended.stderr.strip())
            if ended.returncode != 0:
                raise LoadFailed(f"the client exited with {ended.returncode}: {ended.stderr.strip()}")
            return read_records(records)


def once(generator: Generator, prepared: Prepared, timeout_s: float = 10.0) -> Records:
    """A single call, to see whether somebody answers."""
    phase = Phase(warm_up_s=0.0, measured_s=0.0005, timeout_s=timeout_s)
    return generator.drive(prepared, Closed(1), phase)
