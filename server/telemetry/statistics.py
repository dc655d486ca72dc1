"""Counts and total times of one model version since it was loaded, as the protocol's ModelStatistics wants them."""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Lock
from types import MappingProxyType

from server.batching.observer import BatchRecord

_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Duration:
    """How often something happened and how long it took in total."""

    count: int = 0
    ns: int = 0
    """Nanoseconds over all occurrences."""


@dataclass(frozen=True, slots=True)
class BatchSizeStatistics:
    """Where the time of batches of one size went; each batch counts once."""

    batch_size: int
    """Rows of the batch."""
    compute_input: Duration
    compute_infer: Duration
    compute_output: Duration


@dataclass(frozen=True, slots=True)
class StatisticsSnapshot:
    """The statistics at one moment.

    `queue` and the `compute_` durations count requests: one that shared a batch counts the whole batch's time, as a
    caller felt it. Failed runs are in none of them.
    """

    last_inference_ms: int
    """When the last batch ended, in milliseconds since 1970; 0: there was none."""
    inference_count: int
    """Rows computed."""
    execution_count: int
    """Batches run."""
    success: Duration
    fail: Duration
    queue: Duration
    compute_input: Duration
    """Collating."""
    compute_infer: Duration
    """The session's run."""
    compute_output: Duration
    """Splitting."""
    cache_hit: Duration
    """Always zero: there is no response cache."""
    cache_miss: Duration
    """Always zero: there is no response cache."""
    batch_stats: tuple[BatchSizeStatistics, ...]
    """By batch size, ascending."""
    failures: Mapping[str, int]
    """Failed requests by the ServeError's reason."""


@dataclass(slots=True)
class _Total:
    count: int = 0
    seconds: float = 0.0

    def add(self, seconds: float, count: int = 1) -> None:
        """Adds `count` occurrences that took `seconds` each."""
        self.count += count
        self.seconds += seconds * count

    def duration(self) -> Duration:
        return Duration(self.count, round(self.seconds * _NS))


@dataclass(slots=True)
class _Compute:
    input: _Total = field(default_factory=_Total)
    infer: _Total = field(default_factory=_Total)
    output: _Total = field(default_factory=_Total)

    def add(self, record: BatchRecord, count: int) -> None:
        self.input.add(record.collate_s, count)
        self.infer.add(record.compute_s, count)
        self.output.add(record.split_s, count)


class ModelStatistics:
    """Counts one version's batches and requests; read from another thread than it is written on."""

    def __init__(self, wall_clock: Callable[[], float] = time.time) -> None:
        """`wall_clock` tells seconds since 1970."""
        self._wall_clock = wall_clock
        self._lock = Lock()
        self._last_inference_s = 0.0
        self._rows = 0
        self._batches = 0
        self._success = _Total()
        self._fail = _Total()
        self._queue = _Total()
        self._compute = _Compute()
        self._by_size: dict[int, _Compute] = {}
        self._failures: Counter[str] = Counter()

    def batch_ran(self, record: BatchRecord) -> None:
        """Counts a batch; a failed one leaves only the time of the last inference."""
        with self._lock:
            self._last_inference_s = self._wall_clock()
            if record.failed:
                return
            self._rows += record.rows
            self._batches += 1
            for seconds in record.queue_s:
                self._queue.add(seconds)
            self._compute.add(record, record.requests)
            self._by_size.setdefault(record.rows, _Compute()).add(record, 1)

    def request_succeeded(self, request_s: float) -> None:
        """Counts an answered request and its seconds from receipt to answer."""
        with self._lock:
            self._success.add(request_s)

    def request_failed(self, request_s: float, reason: str = "UNEXPECTED") -> None:
        """Counts a failed request, its seconds from receipt to failure, and the ServeError's reason."""
        with self._lock:
            self._fail.add(request_s)
            self._failures[reason] += 1

    def snapshot(self) -> StatisticsSnapshot:
        """All counts at one moment."""
        with self._lock:
            return StatisticsSnapshot(
                last_inference_ms=round(self._last_inference_s * 1000),
                inference_count=self._rows,
                execution_count=self._batches,
                success=self._success.duration(),
                fail=self._fail.duration(),
                queue=self._queue.duration(),
                compute_input=self._compute.input.duration(),
                compute_infer=self._compute.infer.duration(),
                compute_output=self._compute.output.duration(),
                cache_hit=Duration(),
                cache_miss=Duration(),
                batch_stats=tuple(
                    BatchSizeStatistics(
                        size, compute.input.duration(), compute.infer.duration(), compute.output.duration()
                    )
                    for size, compute in sorted(self._by_size.items())
                ),
                failures=MappingProxyType(dict(self._failures)),
            )
