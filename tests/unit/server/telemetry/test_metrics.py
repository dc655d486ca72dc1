"""What the metrics count, under which labels, and what they forget."""

import re
from dataclasses import dataclass

import pytest
from google.protobuf.descriptor import MethodDescriptor
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from server.batching.observer import BatchRecord
from server.telemetry.metrics import Metrics
from server.telemetry.statistics import ModelStatistics
from server.wire import grpc_service_pb2

OWN = "attendant.v1.AttendantService"
OIP = "inference.GRPCInferenceService"
GRPCInferenceService = grpc_service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"]


@dataclass
class Queue:
    """A queue of a known level."""

    requests: int = 0
    rows: int = 0
    capacity_rows: int = 100

    def __len__(self) -> int:
        return self.requests


@pytest.fixture
def metrics() -> Metrics:
    made = Metrics(version="1.2.3", runtime="1.31.1")
    made.track("m", 1, ModelStatistics(), Queue(requests=2, rows=7))
    return made


def batch(*, version: int = 1, failed: bool = False) -> BatchRecord:
    return BatchRecord(
        model="m",
        version=version,
        variant="rows/fp32",
        requests=2,
        rows=3,
        tokens=60,
        padded_tokens=80,
        queue_s=(0.004, 0.2),
        predicted_s=0.02,
        compute_s=0.03,
        collate_s=0.001,
        split_s=0.001,
        failed=failed,
    )


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_call_is_counted_with_its_time_when_it_ends(metrics: Metrics) -> None:
    metrics.request_finished(OIP, "ModelInfer", "m", 1, "OK", 0.02)
    metrics.request_finished(OIP, "ModelInfer", "m", 1, "QUEUE_FULL", 0.001)

    labels = {"model": "m", "version": "1", "method": "ModelInfer"}
    assert value(metrics, "attendant_requests_total", reason="OK", **labels) == 1
    assert value(metrics, "attendant_requests_total", reason="QUEUE_FULL", **labels) == 1
    assert value(metrics, "attendant_request_seconds_count", **labels) == 2
    assert value(metrics, "attendant_request_seconds_sum", **labels) == pytest.approx(0.021)
    assert value(metrics, "attendant_request_seconds_bucket", le="0.01", **labels) == 1


def test_batch_is_counted_with_rows_tokens_and_padding(metrics: Metrics) -> None:
    metrics.batch_ran(batch())

    labels = {"model": "m", "version": "1"}
    assert value(metrics, "attendant_queue_seconds_count", **labels) == 2
    assert value(metrics, "attendant_queue_seconds_sum", **labels) == pytest.approx(0.204)
    assert value(metrics, "attendant_compute_seconds_sum", **labels) == pytest.approx(0.03)
    assert value(metrics, "attendant_batch_rows_sum", **labels) == 3
    assert value(metrics, "attendant_batch_tokens_sum", **labels) == 80
    assert value(metrics, "attendant_padding_ratio_sum", **labels) == pytest.approx(0.25)
    assert value(metrics, "attendant_batches_total", variant="rows/fp32", **labels) == 1
    assert value(metrics, "attendant_predicted_seconds_total", **labels) == pytest.approx(0.02)
    assert value(metrics, "attendant_batch_failures_total", **labels) is None


def test_failed_batch_is_a_failure_without_compute_time(metrics: Metrics) -> None:
    metrics.batch_ran(batch(failed=True))

    assert value(metrics, "attendant_batch_failures_total", model="m", version="1") == 1
    assert value(metrics, "attendant_batches_total", model="m", version="1", variant="rows/fp32") == 1
    assert value(metrics, "attendant_compute_seconds_count", model="m", version="1") is None
    assert value(metrics, "attendant_predicted_seconds_total", model="m", version="1") is None
    assert value(metrics, "nv_inference_exec_count", model="m", version="1") == 0


def test_drops_attention_and_loads_are_counted(metrics: Metrics) -> None:
    metrics.request_dropped("m", 1, "DEADLINE_EXPIRED")
    metrics.attention_requested("m", 1)
    metrics.version_loaded("m", 1, 0.7)
    metrics.version_refused("m", 2, "ARTIFACT_CORRUPT")

    assert value(metrics, "attendant_dropped_total", model="m", version="1", reason="DEADLINE_EXPIRED") == 1
    assert value(metrics, "attendant_attention_requests_total", model="m", version="1") == 1
    assert value(metrics, "attendant_model_load_seconds_sum", model="m") == pytest.approx(0.7)
    assert value(metrics, "attendant_model_load_failures_total", model="m", reason="ARTIFACT_CORRUPT") == 1


def test_gauges_are_read_when_scraped(metrics: Metrics) -> None:
    in_flight = [3]
    metrics.watch_in_flight(lambda: in_flight[0])
    metrics.show_store([("m", 1, "READY"), ("m", 2, "UNAVAILABLE")], ready=True)

    assert value(metrics, "attendant_queue_rows", model="m", version="1") == 7
    assert value(metrics, "attendant_queue_capacity_rows", model="m", version="1") == 100
    assert value(metrics, "attendant_requests_in_flight") == 3
    assert value(metrics, "attendant_ready") == 1
    assert value(metrics, "attendant_model_state", model="m", version="1", state="READY") == 1
    assert value(metrics, "attendant_model_state", model="m", version="2", state="UNAVAILABLE") == 1

    in_flight[0] = 0
    metrics.show_store([("m", 1, "UNLOADING")], ready=False)

    assert value(metrics, "attendant_requests_in_flight") == 0
    assert value(metrics, "attendant_ready") == 0
    assert value(metrics, "attendant_model_state", model="m", version="1", state="READY") is None
    assert value(metrics, "attendant_model_state", model="m", version="1", state="UNLOADING") == 1


def test_callers_cannot_make_series(metrics: Metrics) -> None:
    for attempt in range(50):
        metrics.request_finished(OWN, "Classify", f"guess-{attempt}", attempt, "MODEL_NOT_FOUND", 0.001)
        metrics.request_finished(OWN, "Classify", "m", 100 + attempt, "VERSION_NOT_FOUND", 0.001)

    count = {"method": "Classify", "version": "unknown"}
    assert value(metrics, "attendant_requests_total", model="unknown", reason="MODEL_NOT_FOUND", **count) == 50
    assert value(metrics, "attendant_requests_total", model="m", reason="VERSION_NOT_FOUND", **count) == 50
    assert b"guess" not in metrics.expose("")[0]


def test_probes_of_health_are_not_counted(metrics: Metrics) -> None:
    before = metrics.expose("")[0]
    for method in ("Check", "Watch"):
        metrics.request_finished("grpc.health.v1.Health", method, "", 0, "OK", 0.001)

    assert b"Check" not in metrics.expose("")[0]
    assert metrics.expose("")[0].count(b"attendant_requests_total") == before.count(b"attendant_requests_total")


def test_call_that_is_not_about_a_model_has_no_model(metrics: Metrics) -> None:
    methods = GRPCInferenceService.methods_by_name
    about_models = {name for name, method in methods.items() if names_a_model(method)}
    for method in methods:
        metrics.request_finished(OIP, method, "", 0, "OK", 0.001)

    for method in methods:
        model = "unknown" if method in about_models else ""
        labels = {"model": model, "version": model, "method": method, "reason": "OK"}
        assert value(metrics, "attendant_requests_total", **labels) == 1, method


def names_a_model(method: MethodDescriptor) -> bool:
    """Whether the request's message has a field for a model, and cannot do without."""
    fields = method.input_type.fields_by_name
    return method.name != "TraceSetting" and ("model_name" in fields or method.name.startswith("Model"))


def test_unloaded_version_leaves_no_series(metrics: Metrics) -> None:
    empty = Metrics(version="1.2.3", runtime="1.31.1").expose("")[0]

    def use_and_unload(version: int) -> None:
        metrics.track("m", version, ModelStatistics(), Queue())
        metrics.show_store([("m", version, "READY")], ready=True)
        metrics.version_loaded("m", version, 0.1)
        metrics.version_refused("m", version, "ARTIFACT_CORRUPT")
        metrics.request_finished(OIP, "ModelInfer", "m", version, "OK", 0.1)
        metrics.request_finished(OIP, "ModelInfer", "m", 999, "VERSION_NOT_FOUND", 0.1)
        metrics.batch_ran(batch(version=version))
        metrics.batch_ran(batch(version=version, failed=True))
        metrics.request_dropped("m", version, "CANCELLED")
        metrics.attention_requested("m", version)
        metrics.version_unloaded("m", version)

    for version in range(1, 20):
        use_and_unload(version)
    metrics.show_store([], ready=False)

    def series(text: bytes) -> set[bytes]:
        return {line.rpartition(b" ")[0] for line in text.splitlines()}

    assert series(metrics.expose("")[0]) == series(empty)


def test_straggler_of_an_unloaded_version_makes_no_series(metrics: Metrics) -> None:
    metrics.version_unloaded("m", 1)

    metrics.request_finished(OIP, "ModelInfer", "m", 1, "OK", 0.1)
    metrics.batch_ran(batch())

    assert b'model="m"' not in metrics.expose("")[0]


def test_other_version_keeps_its_series_when_one_goes(metrics: Metrics) -> None:
    metrics.track("m", 2, ModelStatistics(), Queue())
    for version in (1, 2, 3):
        metrics.request_finished(OIP, "ModelInfer", "m", version, "OK", 0.1)

    metrics.version_unloaded("m", 1)

    labels = {"method": "ModelInfer", "reason": "OK", "model": "m"}
    assert value(metrics, "attendant_requests_total", version="1", **labels) is None
    assert value(metrics, "attendant_requests_total", version="2", **labels) == 1
    assert value(metrics, "attendant_requests_total", version="unknown", **labels) == 1


def test_only_inference_calls_reach_the_models_statistics() -> None:
    metrics, statistics = Metrics(), ModelStatistics()
    metrics.track("m", 1, statistics, Queue())

    metrics.request_finished(OIP, "ModelMetadata", "m", 1, "OK", 0.1)
    metrics.request_finished(OIP, "ModelInfer", "m", 1, "OK", 0.1)
    metrics.request_finished(OWN, "Classify", "m", 1, "OK", 0.1)
    metrics.request_finished(OWN, "Classify", "m", 1, "CANCELLED", 0.1)
    metrics.batch_ran(batch())

    snapshot = statistics.snapshot()
    assert (snapshot.success.count, snapshot.fail.count, snapshot.inference_count) == (2, 1, 3)


def test_both_formats_parse_and_say_what_they_are(metrics: Metrics) -> None:
    metrics.batch_ran(batch())
    metrics.request_finished(OIP, "ModelInfer", "m", 1, "OK", 0.02)

    text, text_type = metrics.expose("")
    openmetrics, openmetrics_type = metrics.expose("application/openmetrics-text;version=1.0.0,text/plain;q=0.1")

    assert text_type.startswith("text/plain")
    assert openmetrics_type.startswith("application/openmetrics-text; version=1.0.0")
    assert openmetrics.endswith(b"# EOF\n")
    assert list(parse_text(text.decode()))
    assert list(parse_openmetrics(openmetrics.decode()))  # type: ignore[no-untyped-call]
    assert sample_names(text) == sample_names(openmetrics)
    assert not any(name.endswith("_created") for name in sample_names(text))


def sample_names(exposed: bytes) -> set[str]:
    """Names as they are written: the parser of the plain format appends `_total` to counters without it."""
    lines = exposed.decode().splitlines()
    return {re.split(r"[{ ]", line)[0] for line in lines if not line.startswith("#")}


@pytest.mark.parametrize(
    "accept", ["application/openmetrics-text;version=x", "\0", "application/openmetrics-text; version"]
)
def test_strange_accept_header_still_gets_metrics(metrics: Metrics, accept: str) -> None:
    assert b"attendant_build_info" in metrics.expose(accept)[0]


def test_settings_are_told_one_series_each() -> None:
    metrics = Metrics(settings={"batching.max_queue_rows": "2048", "store.path": 'a "store"\n'})

    told = metrics.registry.get_sample_value
    assert told("attendant_settings_info", {"setting": "batching.max_queue_rows", "value": "2048"}) == 1
    families = {family.name: family for family in parse_text(metrics.expose("")[0].decode())}
    assert {sample.labels["value"] for sample in families["attendant_settings_info"].samples} == {
        "2048",
        'a "store"\n',
    }


def test_build_is_told(metrics: Metrics) -> None:
    text = metrics.expose("")[0].decode()

    assert 'attendant_build_info{python="3.' in text
    assert 'runtime="1.31.1",version="1.2.3"} 1.0' in text
    assert "process_resident_memory_bytes" in text
