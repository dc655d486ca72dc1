"""Gauges that are read when somebody looks: queues, calls in flight, the states of the versions."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from prometheus_client.core import GaugeMetricFamily, Metric

from server.telemetry.served import ServedVersion


@dataclass(frozen=True, slots=True)
class StoreView:
    """The registry's answer to what is in the store and whether the server takes requests."""

    states: tuple[tuple[str, int, str], ...] = ()
    """(model, version, state) of each version."""
    ready: bool = False


class LiveCollector:
    """Emits the gauges; `view`, `in_flight` and `served` are called from the scraping thread."""

    def __init__(
        self,
        served: Callable[[], Iterable[ServedVersion]],
        view: Callable[[], StoreView],
        in_flight: Callable[[], int],
    ) -> None:
        self._served = served
        self._view = view
        self._in_flight = in_flight

    def collect(self) -> Iterator[Metric]:
        """All families, even where nothing serves."""
        view = self._view()
        yield GaugeMetricFamily("attendant_ready", "1 while new requests are welcome, else 0.", value=int(view.ready))
        yield GaugeMetricFamily(
            "attendant_requests_in_flight", "Calls that have begun and not ended.", value=self._in_flight()
        )
        states = GaugeMetricFamily(
            "attendant_model_state",
            "1 for the state that a version is in; the other states have no series.",
            labels=("model", "version", "state"),
        )
        for model, version, state in view.states:
            states.add_metric((model, str(version), state), 1)
        yield states
        labels = ("model", "version")
        rows = GaugeMetricFamily("attendant_queue_rows", "Rows that wait for a batch.", labels=labels)
        capacity = GaugeMetricFamily(
            "attendant_queue_capacity_rows", "Rows that may wait before requests are refused.", labels=labels
        )
        for served in self._served():
            rows.add_metric((served.model, str(served.version)), served.queue.rows)
            capacity.add_metric((served.model, str(served.version)), served.queue.capacity_rows)
        yield rows
        yield capacity
