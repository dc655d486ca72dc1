"""What is counted of generation, what is read when somebody looks, and what goes with a version."""

import pytest

from server.generation.observer import SAVING, GenerationObserver, GenerationState, LeaveReason, RunKind, StepRecord
from server.generation.result import FinishReason
from server.telemetry.bulk import BULK
from server.telemetry.metrics import Metrics
from server.telemetry.statistics import ModelStatistics
from tests.unit.server.telemetry.test_metrics import Queue

VERSION = {"model": "m", "version": "1"}


@pytest.fixture
def metrics() -> Metrics:
    made = Metrics()
    made.track("m", 1, ModelStatistics(), Queue())
    return made


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"attendant_generation_{name}", {**VERSION, **labels})


def step(*, version: int = 1, kind: RunKind = RunKind.STEP, rows: int = 3, failed: bool = False) -> StepRecord:
    return StepRecord(
        model="m",
        version=version,
        kind=kind,
        rows=rows,
        tokens=rows if kind is RunKind.STEP else 40,
        compute_s=0.002,
        predicted_s=0.001,
        variant="fp32",
        failed=failed,
    )


def everything(metrics: Metrics, version: int = 1) -> None:
    """Tells each event once."""
    for kind in RunKind:
        metrics.step_ran(step(version=version, kind=kind))
        metrics.step_ran(step(version=version, kind=kind, failed=True))
    metrics.joined("m", version, 0.1)
    metrics.first_token("m", version, 0.2)
    metrics.paused("m", version)
    metrics.resumed("m", version)
    metrics.finished("m", version, 7, 5, 0.01)
    metrics.left("m", version, LeaveReason.END)


def test_metrics_are_told_of_generation(metrics):
    observer: GenerationObserver = metrics
    observer.joined("m", 1, 0.1)
    assert value(metrics, "joins_total") == 1


def test_every_way_to_finish_is_a_way_to_leave():
    assert [LeaveReason(finish) for finish in FinishReason] == [LeaveReason.END, LeaveReason.STOP, LeaveReason.LENGTH]


def test_steps_are_counted_with_their_rows_tokens_and_times(metrics):
    metrics.step_ran(step(rows=3))
    metrics.step_ran(step(rows=5))

    assert value(metrics, "runs_total", kind="step", variant="fp32") == 2
    assert value(metrics, "run_rows_count") == 2
    assert value(metrics, "run_rows_sum") == 8
    assert value(metrics, "run_tokens_total", kind="step") == 8
    assert value(metrics, "run_seconds_sum", kind="step") == pytest.approx(0.004)
    assert value(metrics, "predicted_seconds_total") == pytest.approx(0.002)
    assert value(metrics, "run_failures_total", kind="step") is None


@pytest.mark.parametrize("kind", [RunKind.ENCODE, RunKind.PREFILL])
def test_what_is_read_are_tokens_and_no_rows_of_a_step(metrics, kind):
    metrics.step_ran(step(kind=kind))

    assert value(metrics, "runs_total", kind=kind.value, variant="fp32") == 1
    assert value(metrics, "run_tokens_total", kind=kind.value) == 40
    assert value(metrics, "run_seconds_count", kind=kind.value) == 1
    assert value(metrics, "run_rows_count") is None


def test_a_failed_run_is_a_failure_without_time_and_tokens(metrics):
    metrics.step_ran(step(failed=True))

    assert value(metrics, "runs_total", kind="step", variant="fp32") == 1
    assert value(metrics, "run_failures_total", kind="step") == 1
    assert value(metrics, "run_seconds_count", kind="step") is None
    assert value(metrics, "run_tokens_total", kind="step") is None


def test_a_generation_is_counted_from_its_wait_to_its_end(metrics):
    everything(metrics)

    assert value(metrics, "joins_total") == 1
    assert value(metrics, "queue_seconds_sum") == pytest.approx(0.1)
    assert value(metrics, "first_token_seconds_sum") == pytest.approx(0.2)
    assert value(metrics, "first_token_seconds_bucket", le="0.1") == 0
    assert value(metrics, "first_token_seconds_bucket", le="0.25") == 1
    assert value(metrics, "pauses_total") == 1
    assert value(metrics, "resumes_total") == 1
    assert value(metrics, "tokens_in_total") == 7
    assert value(metrics, "tokens_out_total") == 5
    assert value(metrics, "token_seconds_sum") == pytest.approx(0.01)
    assert value(metrics, "leaves_total", reason="end") == 1


@pytest.mark.parametrize("tokens", [0, 1])
def test_a_text_of_one_token_has_no_time_per_token(metrics, tokens):
    metrics.finished("m", 1, 4, tokens, 0.0)

    assert value(metrics, "tokens_out_total") == tokens
    assert value(metrics, "token_seconds_count") == 0


@pytest.mark.parametrize("reason", LeaveReason)
def test_steps_are_saved_only_where_nobody_would_have_read_them(metrics, reason):
    metrics.left("m", 1, reason, steps_saved=9)

    assert value(metrics, "leaves_total", reason=reason.value) == 1
    assert value(metrics, "steps_saved_total") == (9 if reason in SAVING else 0)


def test_every_reason_to_leave_is_seen_at_zero_from_the_first_generation_on(metrics):
    metrics.joined("m", 1, 0.0)

    assert [value(metrics, "leaves_total", reason=reason.value) for reason in LeaveReason] == [0] * len(LeaveReason)


def test_what_is_kept_to_be_counted_in_bulk_is_counted_once(metrics):
    for _ in range(2 * BULK + 3):
        metrics.step_ran(step(rows=1))
        metrics.joined("m", 1, 0.0)

    for _ in range(2):
        assert value(metrics, "run_tokens_total", kind="step") == 2 * BULK + 3
        assert value(metrics, "joins_total") == 2 * BULK + 3


def test_slots_are_read_when_scraped(metrics):
    states = [GenerationState("m", 1, 3, 64, 5000, 9000, 2, 1024, 1)]
    metrics.watch_generation(lambda: states)

    read = [
        value(metrics, name)
        for name in (
            "slots_used",
            "slots",
            "state_bytes",
            "state_capacity_bytes",
            "waiting",
            "waiting_capacity",
            "paused",
        )
    ]
    assert read == [3, 64, 5000, 9000, 2, 1024, 1]

    states.clear()
    assert value(metrics, "slots") is None


def test_unloaded_version_leaves_no_series(metrics):
    empty = Metrics().expose("")[0]
    for version in (1, 2):
        metrics.track("m", version, ModelStatistics(), Queue())
        everything(metrics, version)
        everything(metrics, version + 100)  # stragglers of others
    for version in (1, 2):
        metrics.version_unloaded("m", version)

    def series(text: bytes) -> set[bytes]:
        return {line.rpartition(b" ")[0] for line in text.splitlines()}

    assert series(metrics.expose("")[0]) == series(empty)


def test_other_version_keeps_its_series_when_one_goes(metrics):
    metrics.track("m", 2, ModelStatistics(), Queue())
    everything(metrics, 1)
    everything(metrics, 2)

    metrics.version_unloaded("m", 1)
    everything(metrics, 1)

    assert value(metrics, "joins_total") is None
    assert value(metrics, "joins_total", version="2") == 1
    assert value(metrics, "joins_total", version="unknown") == 1
    assert value(metrics, "runs_total", version="unknown", kind="step", variant="fp32") == 2


def test_a_version_that_comes_again_starts_from_nothing_under_its_own_name(metrics):
    everything(metrics)
    metrics.version_unloaded("m", 1)
    everything(metrics)  # stragglers
    metrics.track("m", 1, ModelStatistics(), Queue())
    everything(metrics)

    assert value(metrics, "joins_total", model="unknown", version="unknown") == 1
    assert value(metrics, "joins_total") == 1
    assert value(metrics, "runs_total", kind="step", variant="fp32") == 2
