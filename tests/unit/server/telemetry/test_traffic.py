"""Calls and batches are counted late, but never seen late, lost, or counted for the wrong version."""

import threading

from prometheus_client import CollectorRegistry

from server.batching.observer import BatchRecord
from server.batching.queue import RequestQueue
from server.telemetry.bulk import BULK
from server.telemetry.served import ServedVersion
from server.telemetry.statistics import ModelStatistics
from server.telemetry.traffic import Traffic

OIP = "inference.GRPCInferenceService"


def tracked(version: int = 1, traffic: Traffic | None = None) -> tuple[Traffic, ModelStatistics]:
    statistics = ModelStatistics()
    traffic = traffic or Traffic(wall_clock=lambda: 1_700_000_000.5)
    traffic.track(ServedVersion("m", version, statistics, RequestQueue(8)))
    return traffic, statistics


def batch(version: int = 1) -> BatchRecord:
    return BatchRecord(
        model="m",
        version=version,
        variant="rows/fp32",
        requests=1,
        rows=2,
        tokens=6,
        padded_tokens=8,
        queue_s=(0.001,),
        predicted_s=0.01,
        compute_s=0.02,
        collate_s=0.0,
        split_s=0.0,
        failed=False,
    )


def value(traffic: Traffic, name: str, **labels: str) -> float | None:
    registry = CollectorRegistry()
    registry.register(traffic)
    return registry.get_sample_value(name, labels)


def test_what_has_not_been_counted_yet_is_counted_for_whoever_looks() -> None:
    traffic, statistics = tracked()
    traffic.request_finished(OIP, "ModelInfer", "m", 1, "OK", 0.25)
    traffic.batch_ran(batch())

    snapshot = statistics.snapshot()
    assert (snapshot.success.count, snapshot.success.ns) == (1, 250_000_000)
    assert (snapshot.inference_count, snapshot.last_inference_ms) == (2, 1_700_000_000_500)
    assert value(traffic, "attendant_requests_total", model="m", version="1", method="ModelInfer", reason="OK") == 1
    assert value(traffic, "attendant_batch_rows_sum", model="m", version="1") == 2


def test_a_version_that_goes_takes_what_was_told_of_it_along() -> None:
    traffic, _ = tracked()
    tracked(2, traffic)
    traffic.request_finished(OIP, "ModelInfer", "m", 1, "OK", 0.25)
    traffic.request_finished(OIP, "ModelInfer", "m", 2, "OK", 0.25)

    traffic.forget("m", 1)

    labels = {"model": "m", "method": "ModelInfer", "reason": "OK"}
    assert value(traffic, "attendant_requests_total", version="1", **labels) is None
    assert value(traffic, "attendant_requests_total", version="2", **labels) == 1
    assert value(traffic, "attendant_requests_total", version="unknown", **labels) is None


def test_a_version_that_comes_again_starts_from_nothing() -> None:
    traffic, before = tracked()
    traffic.request_finished(OIP, "ModelInfer", "m", 1, "OK", 0.25)
    traffic.forget("m", 1)
    _, after = tracked(1, traffic)
    traffic.request_finished(OIP, "ModelInfer", "m", 1, "QUEUE_FULL", 0.25)

    assert (before.snapshot().success.count, before.snapshot().fail.count) == (1, 0)
    assert (after.snapshot().success.count, after.snapshot().fail.count) == (0, 1)


def test_scrapes_from_another_thread_lose_nothing_and_never_go_back() -> None:
    traffic, statistics = tracked()
    calls = 100 * BULK + 3
    seen: list[float] = []
    done = threading.Event()
    labels = {"model": "m", "version": "1", "method": "ModelInfer"}

    def scrape() -> None:
        while not done.is_set():
            seen.append(value(traffic, "attendant_request_seconds_count", **labels) or 0.0)

    scraper = threading.Thread(target=scrape)
    scraper.start()
    for _ in range(calls):
        traffic.request_finished(OIP, "ModelInfer", "m", 1, "OK", 0.5)
        traffic.batch_ran(batch())
    done.set()
    scraper.join()

    assert seen == sorted(seen)
    assert value(traffic, "attendant_request_seconds_count", **labels) == calls
    assert value(traffic, "attendant_request_seconds_sum", **labels) == 0.5 * calls
    assert value(traffic, "attendant_requests_total", reason="OK", **labels) == calls
    assert value(traffic, "attendant_batch_rows_count", model="m", version="1") == calls
    snapshot = statistics.snapshot()
    assert (snapshot.success.count, snapshot.execution_count, snapshot.inference_count) == (calls, calls, 2 * calls)
