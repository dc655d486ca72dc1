"""Triton's names, exactly."""

from dataclasses import dataclass

import pytest
from prometheus_client import CollectorRegistry

from server import errors
from server.batching.observer import BatchRecord
from server.telemetry.metrics import Metrics
from server.telemetry.served import ServedVersion
from server.telemetry.statistics import ModelStatistics
from server.telemetry.triton import FAILURE_REASONS, TritonCollector


@dataclass
class Queue:
    """Four requests wait."""

    rows: int = 9
    capacity_rows: int = 10

    def __len__(self) -> int:
        return 4


@pytest.fixture
def statistics() -> ModelStatistics:
    counted = ModelStatistics()
    counted.batch_ran(
        BatchRecord(
            model="m",
            version=3,
            variant="rows/fp32",
            requests=2,
            rows=5,
            tokens=5,
            padded_tokens=5,
            queue_s=(0.001, 0.002),
            predicted_s=0.02,
            compute_s=0.01,
            collate_s=0.0005,
            split_s=0.00025,
            failed=False,
        ),
        ended_at_s=1.0,
    )
    counted.request_succeeded(0.02)
    counted.request_succeeded(0.03)
    for reason in ("QUEUE_FULL", "CANCELLED", "INFERENCE_FAILED", "SIGNATURE_MISMATCH", "SIGNATURE_MISMATCH"):
        counted.request_failed(0.01, reason)
    return counted


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("nv_inference_request_success", 2),
        ("nv_inference_count", 5),
        ("nv_inference_exec_count", 1),
        ("nv_inference_request_duration_us", 100_000),
        ("nv_inference_queue_duration_us", 3_000),
        ("nv_inference_compute_input_duration_us", 1_000),
        ("nv_inference_compute_infer_duration_us", 20_000),
        ("nv_inference_compute_output_duration_us", 500),
        ("nv_inference_pending_request_count", 4),
    ],
)
def test_counter_has_its_exact_name_and_unit(statistics: ModelStatistics, name: str, expected: float) -> None:
    registry = CollectorRegistry()
    registry.register(TritonCollector(lambda: [ServedVersion("m", 3, statistics, Queue())]))

    assert registry.get_sample_value(name, {"model": "m", "version": "3"}) == expected


def test_failures_are_told_in_tritons_four_reasons(statistics: ModelStatistics) -> None:
    registry = CollectorRegistry()
    registry.register(TritonCollector(lambda: [ServedVersion("m", 3, statistics, Queue())]))

    counts = {
        reason: registry.get_sample_value(
            "nv_inference_request_failure", {"model": "m", "version": "3", "reason": reason}
        )
        for reason in ("REJECTED", "CANCELED", "BACKEND", "OTHER")
    }

    assert counts == {"REJECTED": 1, "CANCELED": 1, "BACKEND": 1, "OTHER": 2}


def test_reasons_are_those_of_the_error_tree() -> None:
    known = {getattr(kind, "reason", None) for kind in vars(errors).values() if isinstance(kind, type)}

    assert set(FAILURE_REASONS) <= known


def test_plain_text_declares_counters_and_openmetrics_does_not(statistics: ModelStatistics) -> None:
    metrics = Metrics()
    metrics.track("m", 3, statistics, Queue())

    text = metrics.expose("")[0].decode()
    openmetrics = metrics.expose("application/openmetrics-text")[0].decode()

    assert "# TYPE nv_inference_count counter\nnv_inference_count{" in text
    assert "# TYPE nv_inference_request_failure counter\n" in text
    assert "# TYPE nv_inference_pending_request_count gauge\n" in text
    assert "untyped" not in text
    assert "# TYPE nv_inference_count unknown\nnv_inference_count{" in openmetrics
