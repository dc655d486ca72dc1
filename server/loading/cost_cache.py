"""Keeps measured costs between starts, in a folder of the deployment's, never inside a version.

A file a measurement, named by everything that it depends on: the graph's digest, the processor, the runtime, the
layout and its lattice, the threads. An unreadable or foreign file counts as none; one that cannot be written is said
once in the log and costs a measurement at the next start.
"""

import hashlib
import logging
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from server.batching.cost import Measurement, Work
from server.loading.threads import ThreadPlan

log = logging.getLogger(__name__)

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class CostKey:
    """What a measurement depends on."""

    graph_sha256: str
    layout: str
    lattices: tuple[tuple[int, ...], ...]
    """Of the tokens and of the rows."""
    precision: str
    provider: str
    threads: int
    cores: int
    runtime: str
    processor: str

    def file_name(self, what: str) -> str:
        """A name that no other key has; `what` is kept under it, such as `cost`."""
        return f"{what}-{hashlib.sha256(repr(self).encode()).hexdigest()[:32]}.json"


class _Point(BaseModel):
    model_config = ConfigDict(extra="forbid")

    rows: int = Field(ge=1)
    tokens: int = Field(ge=1)
    pairs: int = Field(ge=1)
    seconds: float = Field(ge=1e-9, le=1e6)


class _Kept(BaseModel):
    model_config = ConfigDict(extra="forbid")

    schema_version: int = SCHEMA_VERSION
    key: str


class _KeptCosts(_Kept):
    points: list[_Point] = Field(min_length=1, max_length=4096)


class _KeptPlan(_Kept):
    threads: int = Field(ge=1, le=1024)
    sessions: int = Field(ge=1, le=1024)


_AnyKept = TypeVar("_AnyKept", bound=_Kept)


@dataclass(frozen=True, slots=True)
class CostCache:
    """Measurements and thread plans by key; without a folder it keeps nothing."""

    folder: Path | None

    def read(self, key: CostKey) -> Sequence[Measurement] | None:
        """What was measured before; None where nothing usable is kept."""
        kept = self._read(key, "cost", _KeptCosts)
        if kept is None:
            return None
        return [Measurement(Work(point.rows, point.tokens, point.pairs), point.seconds) for point in kept.points]

    def write(self, key: CostKey, measurements: Sequence[Measurement]) -> None:
        """Keeps measurements."""
        points = [
            _Point(rows=one.work.rows, tokens=one.work.tokens, pairs=one.work.pairs, seconds=one.seconds)
            for one in measurements
        ]
        self._write(key, "cost", _KeptCosts(key=repr(key), points=points))

    def read_plan(self, key: CostKey) -> ThreadPlan | None:
        """The use of the cores that was the fastest before; None where nothing usable is kept."""
        kept = self._read(key, "threads", _KeptPlan)
        if kept is None or kept.threads > key.cores or kept.sessions > key.cores:
            return None
        return ThreadPlan(kept.threads, kept.sessions)

    def write_plan(self, key: CostKey, plan: ThreadPlan) -> None:
        """Keeps the use of the cores that was the fastest."""
        self._write(key, "threads", _KeptPlan(key=repr(key), threads=plan.threads, sessions=plan.sessions))

    def _read(self, key: CostKey, what: str, kind: type[_AnyKept]) -> _AnyKept | None:
        if self.folder is None:
            return None
        try:
            kept = kind.model_validate_json((self.folder / key.file_name(what)).read_bytes())
        except (OSError, ValidationError):
            return None
        return kept if kept.schema_version == SCHEMA_VERSION and kept.key == repr(key) else None

    def _write(self, key: CostKey, what: str, kept: _Kept) -> None:
        """Writes beside the place and moves there, so that nobody reads half a file."""
        if self.folder is None:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            handle, draft = tempfile.mkstemp(prefix=f".{what}-", dir=self.folder)
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as file:
                    file.write(kept.model_dump_json(indent=1))
                Path(draft).replace(self.folder / key.file_name(what))
            except BaseException:
                Path(draft).unlink(missing_ok=True)
                raise
        except OSError as error:
            log.warning("measured costs cannot be kept", extra={"problem": error.strerror or type(error).__name__})
