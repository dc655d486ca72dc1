"""All metrics of the process, in a registry of their own; docs/metrics.md explains each.

Seconds and other base units; counted when a request or batch ends. Labels come from closed sets: a version that does
not serve is counted as `unknown`, so that callers cannot make series. Written on the event loop's thread, read by the
thread that exposes them.
"""

import platform
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.exposition import choose_encoder

from server.batching.observer import BatchRecord
from server.telemetry.live import LiveCollector, StoreView
from server.telemetry.series import Series
from server.telemetry.served import QueueLevel, ServedVersion
from server.telemetry.statistics import ModelStatistics
from server.telemetry.triton import TritonCollector, declare_counters

UNKNOWN = "unknown"
"""The label of models and versions that do not serve."""

NO_MODEL = ""
"""The label of calls that are not about a model, such as ServerReady."""

NO_SETTINGS: Mapping[str, str] = MappingProxyType({})

OK = "OK"
"""The reason of a request that was answered."""

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_LOAD_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_TOKENS = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
_SHARES = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75)

_VERSION = ("model", "version")
_OWN_SERVICES = ("attendant.", "inference.")

# When each series began is of no use here and doubles their number in the plain text format.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """Observes calls, batches and the registry, and renders what it saw."""

    def __init__(
        self, *, version: str = UNKNOWN, runtime: str = UNKNOWN, settings: Mapping[str, str] = NO_SETTINGS
    ) -> None:
        """`version` is the server's, `runtime` that of ONNX Runtime; `settings` are told as text, without secrets."""
        self.registry = CollectorRegistry()
        self._served: dict[tuple[str, int], ServedVersion] = {}
        self._view = StoreView()
        self._in_flight: Callable[[], int] = lambda: 0
        self._make_version_series()
        self._make_model_series()
        labels = ("version", "runtime", "python")
        build = Gauge("attendant_build_info", "Always 1; the labels tell what runs.", labels, registry=self.registry)
        build.labels(version, runtime, platform.python_version()).set(1)
        told = Gauge(
            "attendant_settings_info",
            "Always 1; the labels tell a setting and its value at the start.",
            ("setting", "value"),
            registry=self.registry,
        )
        for setting, value in settings.items():
            told.labels(setting, value).set(1)
        self.registry.register(LiveCollector(self._serving, lambda: self._view, lambda: self._in_flight()))
        self.registry.register(TritonCollector(self._serving))
        ProcessCollector(registry=self.registry)

    def _make_version_series(self) -> None:
        self._request_s = self._histogram(
            "attendant_request_seconds", "First byte of a call to its reply.", _SECONDS, "method"
        )
        self._requests = self._counter("attendant_requests_total", "Calls that ended.", "method", "reason")
        self._queue_s = self._histogram("attendant_queue_seconds", "A request's wait for its batch.", _SECONDS)
        self._compute_s = self._histogram("attendant_compute_seconds", "A batch's run in the session.", _SECONDS)
        self._rows = self._histogram("attendant_batch_rows", "Rows of a batch.", _ROWS)
        self._tokens = self._histogram("attendant_batch_tokens", "Padded tokens of a batch.", _TOKENS)
        self._padding = self._histogram(
            "attendant_padding_ratio", "Share of a batch's tokens that is padding.", _SHARES
        )
        self._failed = self._counter("attendant_batch_failures_total", "Batches that failed as a whole.")
        self._dropped = self._counter("attendant_dropped_total", "Requests that left the queue unserved.", "reason")
        self._attention = self._counter("attendant_attention_requests_total", "Calls that asked for attention.")

    def _make_model_series(self) -> None:
        self._load_s = Series(
            Histogram(
                "attendant_model_load_seconds",
                "Reading, verifying and warming a version.",
                ("model",),
                registry=self.registry,
                buckets=_LOAD_SECONDS,
            ),
            owner_labels=1,
        )
        self._load_failures = Series(
            Counter(
                "attendant_model_load_failures_total",
                "Versions that were refused.",
                ("model", "reason"),
                registry=self.registry,
            ),
            owner_labels=1,
        )

    def _histogram(self, name: str, documentation: str, buckets: tuple[float, ...], *labels: str) -> Series[Histogram]:
        metric = Histogram(name, documentation, (*_VERSION, *labels), registry=self.registry, buckets=buckets)
        return Series(metric, owner_labels=len(_VERSION))

    def _counter(self, name: str, documentation: str, *labels: str) -> Series[Counter]:
        metric = Counter(name, documentation, (*_VERSION, *labels), registry=self.registry)
        return Series(metric, owner_labels=len(_VERSION))

    # --- wiring ---------------------------------------------------------------------------------------------------

    def track(self, model: str, version: int, statistics: ModelStatistics, queue: QueueLevel) -> None:
        """Gives a version series of its own, until `version_unloaded`; its statistics are kept from here."""
        # A new mapping each time: the exposing thread may be walking through the old one.
        self._served = {**self._served, (model, version): ServedVersion(model, version, statistics, queue)}

    def watch_in_flight(self, in_flight: Callable[[], int]) -> None:
        """Tells where to read the number of calls in flight; called from the exposing thread."""
        self._in_flight = in_flight

    def show_store(self, states: Iterable[tuple[str, int, str]], *, ready: bool) -> None:
        """Takes the (model, version, state) of every version, and whether the server takes requests, at each change."""
        before = {model for model, _, _ in self._view.states}
        self._view = StoreView(tuple(states), ready)
        for model in before - {model for model, _, _ in self._view.states}:
            self._load_s.forget(model)
            self._load_failures.forget(model)

    def expose(self, accept: str) -> tuple[bytes, str]:
        """(all metrics, content type) in the format that an Accept header asks for: OpenMetrics or plain text."""
        try:
            encode, content_type = choose_encoder(accept)
        except (ValueError, TypeError):  # a version that is no number
            encode, content_type = choose_encoder("")
        body = encode(self.registry)
        return (body if "openmetrics" in content_type else declare_counters(body)), content_type

    # --- observers ------------------------------------------------------------------------------------------------

    def request_finished(
        self, service: str, method: str, model: str, version: int, reason: str, request_s: float
    ) -> None:
        """A call has ended; `model` is empty where none was found, `reason` is OK or that of the error.

        Calls to services of others, such as health, are not counted: probes would stand among the requests.
        """
        if not service.startswith(_OWN_SERVICES):
            return
        labels = self._labels(model, version) if _about_a_model(service, method) else (NO_MODEL, NO_MODEL)
        self._request_s.of(*labels, method).observe(request_s)
        self._requests.of(*labels, method, reason).inc()
        served = self._served.get((model, version))
        if served is not None and _infers(service, method):
            if reason == OK:
                served.statistics.request_succeeded(request_s)
            else:
                served.statistics.request_failed(request_s, reason)

    def batch_ran(self, record: BatchRecord) -> None:
        """A batch has run, well or not."""
        labels = self._labels(record.model, record.version)
        for queue_s in record.queue_s:
            self._queue_s.of(*labels).observe(queue_s)
        self._rows.of(*labels).observe(record.rows)
        self._tokens.of(*labels).observe(record.padded_tokens)
        self._padding.of(*labels).observe(record.padding_ratio)
        if record.failed:
            self._failed.of(*labels).inc()
        else:
            self._compute_s.of(*labels).observe(record.compute_s)
        served = self._served.get((record.model, record.version))
        if served is not None:
            served.statistics.batch_ran(record)

    def request_dropped(self, model: str, version: int, reason: str) -> None:
        """A request left the queue unserved; `reason` is that of the error."""
        self._dropped.of(*self._labels(model, version), reason).inc()

    def attention_requested(self, model: str, version: int) -> None:
        """A call asked for attention."""
        self._attention.of(*self._labels(model, version)).inc()

    def version_loaded(self, model: str, version: int, seconds: float) -> None:
        """A version became ready."""
        self._load_s.of(model).observe(seconds)

    def version_refused(self, model: str, version: int, reason: str) -> None:
        """A version could not be loaded; `reason` is that of the error."""
        self._load_failures.of(model, reason).inc()

    def version_unloaded(self, model: str, version: int) -> None:
        """A version stopped serving: its series go."""
        self._served = {key: served for key, served in self._served.items() if key != (model, version)}
        gone = [(model, str(version))]
        if all(name != model for name, _ in self._served):
            gone.append((model, UNKNOWN))
        for series in (self._request_s, self._queue_s, self._compute_s, self._rows, self._tokens, self._padding):
            for owner in gone:
                series.forget(*owner)
        for counted in (self._requests, self._failed, self._dropped, self._attention):
            for owner in gone:
                counted.forget(*owner)

    def _serving(self) -> Iterable[ServedVersion]:
        return self._served.values()

    def _labels(self, model: str, version: int) -> tuple[str, str]:
        """Names only what serves: neither callers nor stragglers of an unloaded version can make series."""
        if (model, version) in self._served:
            return model, str(version)
        return (model if any(name == model for name, _ in self._served) else UNKNOWN), UNKNOWN


def _about_a_model(service: str, method: str) -> bool:
    """Whether a call names a model: all of our own service, and what the other names so."""
    return service.startswith("attendant.") or method.startswith(("Model", "RepositoryModel"))


def _infers(service: str, method: str) -> bool:
    """Whether the call is a request to a model: all of our own service, the Infer calls of the other."""
    return service.startswith("attendant.") or method in ("ModelInfer", "ModelStreamInfer")
