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

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from server.batching.cost import Measurement, Work

log = logging.getLogger(__name__)

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class CostKey:
    """What a measurement depends on."""

    graph_sha256: str
    layout: str
    lattice: tuple[int, ...]
    precision: str
    provider: str
    threads: int
    cores: int
    runtime: str
    processor: str

    @property
    def file_name(self) -> str:
        """A name that no other key has."""
        return f"cost-{hashlib.sha256(repr(self).encode()).hexdigest()[:32]}.json"


class _Point(BaseModel):
    model_config = ConfigDict(extra="forbid")

    rows: int = Field(ge=1)
    tokens: int = Field(ge=1)
    pairs: int = Field(ge=1)
    seconds: float = Field(gt=0, allow_inf_nan=False)


class _Kept(BaseModel):
    model_config = ConfigDict(extra="forbid")

    schema_version: int
    key: str
    points: list[_Point] = Field(min_length=1, max_length=4096)


@dataclass(frozen=True, slots=True)
class CostCache:
    """Measurements by key; without a folder it keeps nothing."""

    folder: Path | None

    def read(self, key: CostKey) -> Sequence[Measurement] | None:
        """What was measured before; None where nothing usable is kept."""
        if self.folder is None:
            return None
        try:
            kept = _Kept.model_validate_json((self.folder / key.file_name).read_bytes())
        except (OSError, ValidationError):
            return None
        if kept.schema_version != SCHEMA_VERSION or kept.key != repr(key):
            return None
        return [Measurement(Work(point.rows, point.tokens, point.pairs), point.seconds) for point in kept.points]

    def write(self, key: CostKey, measurements: Sequence[Measurement]) -> None:
        """Keeps measurements; written beside its place and moved there, so that nobody reads half a file."""
        if self.folder is None:
            return
        points = [
            _Point(rows=one.work.rows, tokens=one.work.tokens, pairs=one.work.pairs, seconds=one.seconds)
            for one in measurements
        ]
        kept = _Kept(schema_version=SCHEMA_VERSION, key=repr(key), points=points)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            handle, draft = tempfile.mkstemp(prefix=".cost-", dir=self.folder)
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as file:
                    file.write(kept.model_dump_json(indent=1))
                Path(draft).replace(self.folder / key.file_name)
            except BaseException:
                Path(draft).unlink(missing_ok=True)
                raise
        except OSError as error:
            log.warning("measured costs cannot be kept", extra={"problem": error.strerror or type(error).__name__})
