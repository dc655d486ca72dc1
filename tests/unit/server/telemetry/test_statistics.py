"""What ModelStatistics adds up."""

import pytest

from server.batching.observer import BatchRecord
from server.telemetry.statistics import Duration, ModelStatistics


def batch(rows: int, *queue_s: float, failed: bool = False) -> BatchRecord:
    return BatchRecord(
        model="m",
        version=1,
        variant="rows/fp32",
        requests=len(queue_s),
        rows=rows,
        tokens=10 * rows,
        padded_tokens=12 * rows,
        queue_s=queue_s,
        predicted_s=0.02,
        compute_s=0.25,
        collate_s=0.001,
        split_s=0.002,
        failed=failed,
    )


def test_new_version_has_counted_nothing() -> None:
    snapshot = ModelStatistics().snapshot()

    assert snapshot.last_inference_ms == snapshot.inference_count == snapshot.execution_count == 0
    assert snapshot.success == snapshot.fail == snapshot.queue == snapshot.compute_infer == Duration(0, 0)
    assert snapshot.batch_stats == ()
    assert dict(snapshot.failures) == {}


def test_every_request_of_a_batch_counts_the_whole_run() -> None:
    statistics = ModelStatistics()

    statistics.batch_ran(batch(5, 0.5, 0.25, 0.0), 1_700_000_000.125)

    snapshot = statistics.snapshot()
    assert snapshot.last_inference_ms == 1_700_000_000_125
    assert (snapshot.inference_count, snapshot.execution_count) == (5, 1)
    assert snapshot.queue == Duration(3, 750_000_000)
    assert snapshot.compute_input == Duration(3, 3_000_000)
    assert snapshot.compute_infer == Duration(3, 750_000_000)
    assert snapshot.compute_output == Duration(3, 6_000_000)


def test_batch_sizes_are_counted_once_a_batch_in_ascending_order() -> None:
    statistics = ModelStatistics()

    for record in (batch(8, 0.0, 0.0), batch(2, 0.0), batch(8, 0.0)):
        statistics.batch_ran(record, 1.0)

    two, eight = statistics.snapshot().batch_stats
    assert (two.batch_size, two.compute_infer) == (2, Duration(1, 250_000_000))
    assert (eight.batch_size, eight.compute_infer) == (8, Duration(2, 500_000_000))
    assert eight.compute_input == Duration(2, 2_000_000)
    assert eight.compute_output == Duration(2, 4_000_000)


def test_failed_batch_leaves_only_its_time() -> None:
    statistics = ModelStatistics()

    statistics.batch_ran(batch(3, 0.1, failed=True), 7.0)

    snapshot = statistics.snapshot()
    assert snapshot.last_inference_ms == 7000
    assert (snapshot.inference_count, snapshot.execution_count, snapshot.queue.count) == (0, 0, 0)


def test_requests_are_counted_by_their_end() -> None:
    statistics = ModelStatistics()

    statistics.request_succeeded(0.5)
    statistics.request_succeeded(0.25)
    statistics.request_failed(0.125, "QUEUE_FULL")
    statistics.request_failed(0.125)

    snapshot = statistics.snapshot()
    assert snapshot.success == Duration(2, 750_000_000)
    assert snapshot.fail == Duration(2, 250_000_000)
    assert dict(snapshot.failures) == {"QUEUE_FULL": 1, "UNEXPECTED": 1}


def test_snapshot_does_not_change_any_more() -> None:
    statistics = ModelStatistics()
    statistics.batch_ran(batch(1, 0.0), 1.0)
    statistics.request_failed(1.0, "CANCELLED")
    before = statistics.snapshot()

    statistics.batch_ran(batch(1, 0.0), 1.0)
    statistics.request_failed(1.0, "CANCELLED")

    assert before.inference_count == 1
    assert dict(before.failures) == {"CANCELLED": 1}
    with pytest.raises(AttributeError):
        before.inference_count = 5  # type: ignore[misc]
    with pytest.raises(TypeError):
        before.failures["X"] = 1  # type: ignore[index]


def test_what_was_put_off_is_counted_before_a_snapshot() -> None:
    statistics = ModelStatistics()
    statistics.read_after(lambda: statistics.request_succeeded(0.5))

    assert statistics.snapshot().success == Duration(1, 500_000_000)
    assert statistics.snapshot().success == Duration(2, 1_000_000_000)
