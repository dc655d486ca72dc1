"""Triton's counters under their exact names, so that dashboards made for it work here.

Those names predate the `_total` rule: OpenMetrics cannot declare them as counters, so they are collected as untyped.
`declare_counters` says `counter` in the plain text format, which can.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client.core import GaugeMetricFamily, Metric, UnknownMetricFamily

from server.errors import (
    DeadlineExpired,
    DeadlineUnreachable,
    InferenceFailed,
    ModelNotReady,
    QueueFull,
    ReaderTooSlow,
    RequestCancelled,
    ServerDraining,
)
from server.telemetry.served import ServedVersion
from server.telemetry.statistics import StatisticsSnapshot

FAILURE = "nv_inference_request_failure"
PENDING = "nv_inference_pending_request_count"

COUNTERS: dict[str, tuple[str, Callable[[StatisticsSnapshot], int]]] = {
    "nv_inference_request_success": ("Requests answered.", lambda s: s.success.count),
    "nv_inference_count": ("Rows computed.", lambda s: s.inference_count),
    "nv_inference_exec_count": ("Batches run.", lambda s: s.execution_count),
    "nv_inference_request_duration_us": (
        "Microseconds from receipt to answer or failure, over all requests.",
        lambda s: (s.success.ns + s.fail.ns) // 1000,
    ),
    "nv_inference_queue_duration_us": (
        "Microseconds that requests waited for a batch.",
        lambda s: s.queue.ns // 1000,
    ),
    "nv_inference_compute_input_duration_us": (
        "Microseconds of collating, counted for every request of a batch.",
        lambda s: s.compute_input.ns // 1000,
    ),
    "nv_inference_compute_infer_duration_us": (
        "Microseconds of session runs, counted for every request of a batch.",
        lambda s: s.compute_infer.ns // 1000,
    ),
    "nv_inference_compute_output_duration_us": (
        "Microseconds of splitting, counted for every request of a batch.",
        lambda s: s.compute_output.ns // 1000,
    ),
}

FAILURE_REASONS = {
    QueueFull.reason: "REJECTED",
    DeadlineUnreachable.reason: "REJECTED",
    DeadlineExpired.reason: "REJECTED",
    ServerDraining.reason: "REJECTED",
    ModelNotReady.reason: "REJECTED",
    RequestCancelled.reason: "CANCELED",
    ReaderTooSlow.reason: "CANCELED",
    InferenceFailed.reason: "BACKEND",
}
"""Our reasons in Triton's words; all the others are OTHER."""

_TRITON_REASONS = ("REJECTED", "CANCELED", "BACKEND", "OTHER")
_LABELS = ("model", "version")


class TritonCollector:
    """Reads the statistics of the versions that serve now; what is unloaded leaves no series behind."""

    def __init__(self, served: Callable[[], Iterable[ServedVersion]]) -> None:
        self._served = served

    def collect(self) -> Iterator[Metric]:
        """All families, even where nothing serves."""
        served = tuple(self._served())
        snapshots = [(one, one.statistics.snapshot()) for one in served]
        for name, (documentation, value) in COUNTERS.items():
            family = UnknownMetricFamily(name, documentation, labels=_LABELS)
            for one, snapshot in snapshots:
                family.add_metric((one.model, str(one.version)), value(snapshot))
            yield family
        failures = UnknownMetricFamily(FAILURE, "Requests failed, by Triton's reasons.", labels=(*_LABELS, "reason"))
        for one, snapshot in snapshots:
            for reason, count in _by_triton_reason(snapshot.failures).items():
                failures.add_metric((one.model, str(one.version), reason), count)
        yield failures
        pending = GaugeMetricFamily(PENDING, "Requests that wait for a batch.", labels=_LABELS)
        for one in served:
            pending.add_metric((one.model, str(one.version)), len(one.queue))
        yield pending


def declare_counters(text: bytes) -> bytes:
    """The plain text format with Triton's counters declared as what they are."""
    for name in (*COUNTERS, FAILURE):
        text = text.replace(f"# TYPE {name} untyped\n".encode(), f"# TYPE {name} counter\n".encode())
    return text


def _by_triton_reason(failures: Mapping[str, int]) -> dict[str, int]:
    counts = dict.fromkeys(_TRITON_REASONS, 0)
    for reason, count in failures.items():
        counts[FAILURE_REASONS.get(reason, "OTHER")] += count
    return counts
