"""Calls and batches as they end: kept, counted in bulk, under the labels of what serves."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from prometheus_client.core import Metric

from server.batching.observer import BatchRecord
from server.telemetry.bulk import Bulk
from server.telemetry.series import Count, Counts, Distribution, Distributions
from server.telemetry.served import ServedVersion
from server.telemetry.statistics import ModelStatistics

UNKNOWN = "unknown"
"""The label of models and versions that do not serve."""
NO_MODEL = ""
"""The label of calls that are not about a model, such as ServerReady."""
OK = "OK"
"""The reason of a request that was answered."""

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_TOKENS = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
_SHARES = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75)

_VERSION = ("model", "version")
_OWN_SERVICES = ("attendant.", "inference.")


_Ended = tuple[str, str, str, int, str, float]
"""A call: service, method, model, version, reason, seconds."""


@dataclass(frozen=True, slots=True)
class _Calls:
    """What a call adds to, by its method, its version and how it ended."""

    seconds: Distribution
    count: Count
    statistics: ModelStatistics | None
    """None where it is no request to a model that serves."""


@dataclass(frozen=True, slots=True)
class _Batches:
    """What a batch adds to, by its version, its variant and whether it failed."""

    queue_s: Distribution
    rows: Distribution
    tokens: Distribution
    padding: Distribution
    count: Count
    compute_s: Distribution | None
    """None for batches that failed; so `predicted_s`."""
    predicted_s: Count | None
    failures: Count | None
    """None for batches that did not fail."""
    statistics: ModelStatistics | None
    """None for a straggler of a version that does not serve any more."""


class Traffic:
    """Told on the event loop's thread, collected from another one."""

    def __init__(self, wall_clock: Callable[[], float] = time.time) -> None:
        """`wall_clock` tells seconds since 1970."""
        self._wall_clock = wall_clock
        self._ended: Bulk[_Ended] = Bulk(self._count_call)
        self._ran: Bulk[tuple[BatchRecord, float]] = Bulk(self._count_batch)
        self.served: dict[tuple[str, int], ServedVersion] = {}
        """What serves; replaced as a whole, so that another thread may walk through it."""
        self._calls: dict[tuple[str, str, str, int, str], _Calls] = {}
        self._batches: dict[tuple[str, int, str, bool], _Batches] = {}
        self._series: list[Counts | Distributions] = []
        self._request_s = self._histogram(
            "attendant_request_seconds", "First byte of a call to its reply.", _SECONDS, "method"
        )
        self._requests = self._counter("attendant_requests_total", "Calls that ended.", "method", "reason")
        self._queue_s = self._histogram("attendant_queue_seconds", "A request's wait for its batch.", _SECONDS)
        self._compute_s = self._histogram("attendant_compute_seconds", "A batch's run in the session.", _SECONDS)
        self._predicted_s = self._counter(
            "attendant_predicted_seconds_total", "Seconds that batches were predicted to take."
        )
        self._rows = self._histogram("attendant_batch_rows", "Rows of a batch.", _ROWS)
        self._tokens = self._histogram("attendant_batch_tokens", "Padded tokens of a batch.", _TOKENS)
        self._padding = self._histogram(
            "attendant_padding_ratio", "Share of a batch's tokens that is padding.", _SHARES
        )
        self._count = self._counter("attendant_batches_total", "Batches that ran, well or not.", "variant")
        self._failed = self._counter("attendant_batch_failures_total", "Batches that failed as a whole.")
        self._dropped = self._counter("attendant_dropped_total", "Requests that left the queue unserved.", "reason")
        self._attention = self._counter("attendant_attention_requests_total", "Calls that asked for attention.")

    def _histogram(self, name: str, documentation: str, bounds: tuple[float, ...], *labels: str) -> Distributions:
        series = Distributions(name, documentation, (*_VERSION, *labels), len(_VERSION), bounds)
        self._series.append(series)
        return series

    def _counter(self, name: str, documentation: str, *labels: str) -> Counts:
        series = Counts(name, documentation, (*_VERSION, *labels), len(_VERSION))
        self._series.append(series)
        return series

    def collect(self) -> Iterator[Metric]:
        """All families, with everything counted that was told before; those without a series too."""
        self.settle()
        for series in self._series:
            yield from series.collect()

    def settle(self) -> None:
        """Counts what has been told but not counted yet."""
        self._ended.settle()
        self._ran.settle()

    # --- what serves ----------------------------------------------------------------------------------------------

    def track(self, version: ServedVersion) -> None:
        """Gives a version series of its own, until `forget`; from here on its statistics are kept."""
        version.statistics.read_after(self.settle)
        self._serve({**self.served, (version.model, version.version): version})

    def forget(self, model: str, version: int) -> list[tuple[str, str]]:
        """Takes a version's series away, and with a model's last version those of its unknown ones.

        Gives the labels (model, version) that have gone, for others whose series stand under them.
        """
        self._serve({key: served for key, served in self.served.items() if key != (model, version)})
        gone = [(model, str(version))]
        if all(name != model for name, _ in self.served):
            gone.append((model, UNKNOWN))
        for series in self._series:
            for owner in gone:
                series.forget(*owner)
        return gone

    def serving(self) -> Iterable[ServedVersion]:
        """What serves; may be asked from another thread."""
        return self.served.values()

    def _serve(self, served: dict[tuple[str, int], ServedVersion]) -> None:
        self.settle()  # what was told so far belongs to what served so far
        self.served = served
        self._calls.clear()
        self._batches.clear()

    def labels(self, model: str, version: int) -> tuple[str, str]:
        """Names only what serves: neither callers nor stragglers of an unloaded version can make series."""
        if (model, version) in self.served:
            return model, str(version)
        return (model if any(name == model for name, _ in self.served) else UNKNOWN), UNKNOWN

    # --- what ends ------------------------------------------------------------------------------------------------

    def request_finished(
        self, service: str, method: str, model: str, version: int, reason: str, request_s: float
    ) -> None:
        """A call has ended; those to services of others, such as health, are not counted."""
        self._ended.add((service, method, model, version, reason, request_s))

    def batch_ran(self, record: BatchRecord) -> None:
        """A batch has run, well or not."""
        self._ran.add((record, self._wall_clock()))

    def request_dropped(self, model: str, version: int, reason: str) -> None:
        """A request left the queue unserved."""
        self._dropped.of(*self.labels(model, version), reason).add()

    def attention_requested(self, model: str, version: int) -> None:
        """A call asked for attention."""
        self._attention.of(*self.labels(model, version)).add()

    # --- counting -------------------------------------------------------------------------------------------------

    def _count_call(self, ended: _Ended) -> None:
        service, method, model, version, reason, request_s = ended
        calls = self._calls.get((service, method, model, version, reason))
        if calls is None:
            if not service.startswith(_OWN_SERVICES):
                return
            calls = self._find_calls(service, method, model, version, reason)
        calls.seconds.observe(request_s)
        calls.count.add()
        if calls.statistics is None:
            return
        if reason == OK:
            calls.statistics.request_succeeded(request_s)
        else:
            calls.statistics.request_failed(request_s, reason)

    def _count_batch(self, ran: tuple[BatchRecord, float]) -> None:
        record, ended_at_s = ran
        batches = self._batches.get((record.model, record.version, record.variant, record.failed))
        if batches is None:
            batches = self._find_batches(record)
        for queue_s in record.queue_s:
            batches.queue_s.observe(queue_s)
        batches.rows.observe(record.rows)
        batches.tokens.observe(record.padded_tokens)
        batches.padding.observe(record.padding_ratio)
        batches.count.add()
        if batches.compute_s is not None and batches.predicted_s is not None:
            batches.compute_s.observe(record.compute_s)
            batches.predicted_s.add(record.predicted_s)
        if batches.failures is not None:
            batches.failures.add()
        if batches.statistics is not None:
            batches.statistics.batch_ran(record, ended_at_s)

    def _find_calls(self, service: str, method: str, model: str, version: int, reason: str) -> _Calls:
        about_a_model = _about_a_model(service, method)
        labels = self.labels(model, version) if about_a_model else (NO_MODEL, NO_MODEL)
        served = self.served.get((model, version)) if _infers(service, method) else None
        calls = _Calls(
            seconds=self._request_s.of(*labels, method),
            count=self._requests.of(*labels, method, reason),
            statistics=served.statistics if served else None,
        )
        if (model, version) in self.served:  # what callers name is no key: they could name anything
            self._calls[service, method, model, version, reason] = calls
        return calls

    def _find_batches(self, record: BatchRecord) -> _Batches:
        labels = self.labels(record.model, record.version)
        served = self.served.get((record.model, record.version))
        batches = _Batches(
            queue_s=self._queue_s.of(*labels),
            rows=self._rows.of(*labels),
            tokens=self._tokens.of(*labels),
            padding=self._padding.of(*labels),
            count=self._count.of(*labels, record.variant),
            compute_s=None if record.failed else self._compute_s.of(*labels),
            predicted_s=None if record.failed else self._predicted_s.of(*labels),
            failures=self._failed.of(*labels) if record.failed else None,
            statistics=served.statistics if served else None,
        )
        if served:
            self._batches[record.model, record.version, record.variant, record.failed] = batches
        return batches


def _about_a_model(service: str, method: str) -> bool:
    """Whether a call names a model: all of our own service, and what the other names so."""
    return service.startswith("attendant.") or method.startswith(("Model", "RepositoryModel"))


def _infers(service: str, method: str) -> bool:
    """Whether the call is a request to a model: all of our own service, the Infer calls of the other."""
    return service.startswith("attendant.") or method in ("ModelInfer", "ModelStreamInfer")
