"""All metrics of the process, in a registry of their own; docs/metrics.md explains each.

Seconds and other base units; counted for when a request or batch ends. Labels come from closed sets: a version that
does not serve is counted as `unknown`, so that callers cannot make series. Told on the event loop's thread, read by the
thread that exposes them.
"""

import platform
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from prometheus_client import CollectorRegistry, Gauge, ProcessCollector
from prometheus_client.exposition import choose_encoder

from server.batching.observer import BatchRecord
from server.generation.observer import GenerationState, LeaveReason, StepRecord
from server.loading.loaded import LoadedVersion
from server.telemetry.engine import Cores, EngineCollector
from server.telemetry.generation import GenerationCollector, GenerationCounter
from server.telemetry.live import LiveCollector, StoreView
from server.telemetry.series import Counts, Distributions
from server.telemetry.served import QueueLevel, ServedVersion
from server.telemetry.statistics import ModelStatistics
from server.telemetry.traffic import UNKNOWN, Traffic
from server.telemetry.triton import TritonCollector, declare_counters

NO_SETTINGS: Mapping[str, str] = MappingProxyType({})

_LOAD_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Metrics:
    """Observes calls, batches, generation and the registry, and renders what it saw."""

    def __init__(
        self, *, version: str = UNKNOWN, runtime: str = UNKNOWN, settings: Mapping[str, str] = NO_SETTINGS
    ) -> None:
        """`version` is the server's, `runtime` that of ONNX Runtime; `settings` are told as text, without secrets."""
        self.registry = CollectorRegistry()
        self._view = StoreView()
        self._in_flight: Callable[[], int] = lambda: 0
        self._traffic = Traffic()
        self.registry.register(self._traffic)
        self._load_s = Distributions(
            "attendant_model_load_seconds", "Reading, verifying and warming a version.", ("model",), 1, _LOAD_SECONDS
        )
        self._load_failures = Counts(
            "attendant_model_load_failures_total", "Versions that were refused.", ("model", "reason"), 1
        )
        self.registry.register(self._load_s)
        self.registry.register(self._load_failures)
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
        self.registry.register(LiveCollector(self._traffic.serving, lambda: self._view, lambda: self._in_flight()))
        self.registry.register(TritonCollector(self._traffic.serving))
        self._loaded: Callable[[], Iterable[LoadedVersion]] = tuple
        self._cores: Callable[[], Cores] = Cores
        self.registry.register(EngineCollector(lambda: self._loaded(), lambda: self._cores()))
        self._generation = GenerationCounter(self._traffic.labels)
        self._generating: Callable[[], Iterable[GenerationState]] = tuple
        self.registry.register(self._generation)
        self.registry.register(GenerationCollector(lambda: self._generating()))
        ProcessCollector(registry=self.registry)

    # --- wiring ---------------------------------------------------------------------------------------------------

    def track(self, model: str, version: int, statistics: ModelStatistics, queue: QueueLevel) -> None:
        """Gives a version series of its own, until `version_unloaded`; its statistics are kept from here."""
        self._generation.settle()  # what was told so far belongs to what served so far
        self._traffic.track(ServedVersion(model, version, statistics, queue))

    def watch_in_flight(self, in_flight: Callable[[], int]) -> None:
        """Tells where to read the number of calls in flight; called from the exposing thread."""
        self._in_flight = in_flight

    def watch_engine(self, loaded: Callable[[], Iterable[LoadedVersion]], cores: Callable[[], Cores]) -> None:
        """Tells where to read which versions are open and how many cores compute; called from the exposing thread."""
        self._loaded, self._cores = loaded, cores

    def watch_generation(self, generating: Callable[[], Iterable[GenerationState]]) -> None:
        """Tells where to read the slots of each version that generates; called from the exposing thread."""
        self._generating = generating

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
        self._traffic.request_finished(service, method, model, version, reason, request_s)

    def batch_ran(self, record: BatchRecord) -> None:
        """A batch has run, well or not."""
        self._traffic.batch_ran(record)

    def request_dropped(self, model: str, version: int, reason: str) -> None:
        """A request left the queue unserved; `reason` is that of the error."""
        self._traffic.request_dropped(model, version, reason)

    def attention_requested(self, model: str, version: int) -> None:
        """A call asked for attention."""
        self._traffic.attention_requested(model, version)

    def version_loaded(self, model: str, version: int, seconds: float) -> None:
        """A version became ready."""
        self._load_s.of(model).observe(seconds)

    def version_refused(self, model: str, version: int, reason: str) -> None:
        """A version could not be loaded; `reason` is that of the error."""
        self._load_failures.of(model, reason).add()

    def version_unloaded(self, model: str, version: int) -> None:
        """A version stopped serving: its series go."""
        self._generation.settle()
        self._generation.forget(self._traffic.forget(model, version))

    # --- generation -----------------------------------------------------------------------------------------------

    def step_ran(self, record: StepRecord) -> None:
        """A session of a generative model has run, well or not."""
        self._generation.step_ran(record)

    def joined(self, model: str, version: int, queue_s: float) -> None:
        """A generation took its slots."""
        self._generation.joined(model, version, queue_s)

    def left(self, model: str, version: int, reason: LeaveReason, steps_saved: int = 0) -> None:
        """A generation ended."""
        self._generation.left(model, version, reason, steps_saved)

    def first_token(self, model: str, version: int, seconds: float) -> None:
        """A generation's first token was there."""
        self._generation.first_token(model, version, seconds)

    def finished(self, model: str, version: int, prompt_tokens: int, tokens: int, seconds_per_token: float) -> None:
        """A generation ended well."""
        self._generation.finished(model, version, prompt_tokens, tokens, seconds_per_token)

    def paused(self, model: str, version: int) -> None:
        """A generation is no longer stepped, because its reader is behind."""
        self._generation.paused(model, version)

    def resumed(self, model: str, version: int) -> None:
        """It is stepped again."""
        self._generation.resumed(model, version)
