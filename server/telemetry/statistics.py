"""Counts and total times of one model version since it was loaded, as the protocol's ModelStatistics wants them."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
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

    def duration(self) -> Duration:
        return _duration(self.count, self.seconds)


@dataclass(slots=True)
class _Batches:
    """The batches of one size; the second three count a batch's seconds once for each of its requests."""

    count: int = 0
    requests: int = 0
    input_s: float = 0.0
    infer_s: float = 0.0
    output_s: float = 0.0
    requests_input_s: float = 0.0
    requests_infer_s: float = 0.0
    requests_output_s: float = 0.0

    def add(self, record: BatchRecord) -> None:
        requests = record.requests
        self.count += 1
        self.requests += requests
        self.input_s += record.collate_s
        self.infer_s += record.compute_s
        self.output_s += record.split_s
        self.requests_input_s += record.collate_s * requests
        self.requests_infer_s += record.compute_s * requests
        self.requests_output_s += record.split_s * requests


class ModelStatistics:
    """Counts one version's batches and requests; read from another thread than it is written on."""

    def __init__(self) -> None:
        self._settle: Callable[[], None] = lambda: None
        self._lock = Lock()
        self._last_inference_s = 0.0
        self._success = _Total()
        self._fail = _Total()
        self._queue = _Total()
        self._by_rows: dict[int, _Batches] = {}
        self._failures: Counter[str] = Counter()

    def read_after(self, settle: Callable[[], None]) -> None:
        """Has `settle` called before each snapshot: it counts here what has been put off until then."""
        self._settle = settle

    def batch_ran(self, record: BatchRecord, ended_at_s: float) -> None:
        """Counts a batch that ended so many seconds after 1970; a failed one leaves only that time."""
        with self._lock:
            self._last_inference_s = ended_at_s
            if record.failed:
                return
            self._queue.count += len(record.queue_s)
            self._queue.seconds += sum(record.queue_s)
            batches = self._by_rows.get(record.rows)
            if batches is None:
                batches = self._by_rows[record.rows] = _Batches()
            batches.add(record)

    def request_succeeded(self, request_s: float) -> None:
        """Counts an answered request and its seconds from receipt to answer."""
        with self._lock:
            self._success.count += 1
            self._success.seconds += request_s

    def request_failed(self, request_s: float, reason: str = "UNEXPECTED") -> None:
        """Counts a failed request, its seconds from receipt to failure, and the ServeError's reason."""
        with self._lock:
            self._fail.count += 1
            self._fail.seconds += request_s
            self._failures[reason] += 1

    def snapshot(self) -> StatisticsSnapshot:
        """All counts at one moment."""
        self._settle()
        with self._lock:
            sizes = sorted(self._by_rows.items())
            every = [batches for _, batches in sizes]
            requests = sum(batches.requests for batches in every)
            return StatisticsSnapshot(
                last_inference_ms=round(self._last_inference_s * 1000),
                inference_count=sum(rows * batches.count for rows, batches in sizes),
                execution_count=sum(batches.count for batches in every),
                success=self._success.duration(),
                fail=self._fail.duration(),
                queue=self._queue.duration(),
                compute_input=_duration(requests, sum(batches.requests_input_s for batches in every)),
                compute_infer=_duration(requests, sum(batches.requests_infer_s for batches in every)),
                compute_output=_duration(requests, sum(batches.requests_output_s for batches in every)),
                cache_hit=Duration(),
                cache_miss=Duration(),
                batch_stats=tuple(_by_size(rows, batches) for rows, batches in sizes),
                failures=MappingProxyType(dict(self._failures)),
            )


def _duration(count: int, seconds: float) -> Duration:
    return Duration(count, round(seconds * _NS))


def _by_size(rows: int, batches: _Batches) -> BatchSizeStatistics:
    return BatchSizeStatistics(
        rows,
        _duration(batches.count, batches.input_s),
        _duration(batches.count, batches.infer_s),
        _duration(batches.count, batches.output_s),
    )
