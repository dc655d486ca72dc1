"""docs/metrics.md tells every metric, and no other."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client import Metric

from server.batching.observer import BatchRecord
from server.batching.queue import RequestQueue
from server.generation.observer import GenerationState, LeaveReason, RunKind, StepRecord
from server.runtime.precision import PrecisionError
from server.store.bundle import Bundle
from server.telemetry.engine import Cores
from server.telemetry.metrics import Metrics
from server.telemetry.statistics import ModelStatistics
from server.tensors import Datatype
from tests.support.fakes import FunctionSession, echo_model, fake_version

PAGE = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
ROW = re.compile(
    r"^\| `(?P<name>\w+)` \| (?P<type>\w+) \| (?P<labels>[^|]+) \| (?P<unit>[^|]+) \| (?P<meaning>[^|]+) \|$"
)

SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}


def documented() -> dict[str, tuple[str, set[str]]]:
    """Name -> (type, labels), from the page's tables."""
    found = {}
    for line in PAGE.splitlines():
        row = ROW.match(line)
        if row:
            found[row["name"]] = (row["type"], set(re.findall(r"`(\w+)`", row["labels"])))
    return found


@pytest.fixture(scope="module")
def families() -> list[Metric]:
    """Every family of a server on which everything has happened once."""
    metrics = Metrics(settings={"batching.max_queue_rows": "2048"})
    metrics.track("m", 1, ModelStatistics(), RequestQueue(capacity_rows=8))
    metrics.show_store([("m", 1, "READY")], ready=True)
    metrics.request_finished("inference.GRPCInferenceService", "ModelInfer", "m", 1, "OK", 0.1)
    for failed in (False, True):
        metrics.batch_ran(
            BatchRecord(
                model="m",
                version=1,
                variant="rows/fp32",
                requests=1,
                rows=1,
                tokens=1,
                padded_tokens=1,
                queue_s=(0.0,),
                predicted_s=0.02,
                compute_s=0.1,
                collate_s=0.0,
                split_s=0.0,
                failed=failed,
            )
        )
    metrics.request_dropped("m", 1, "CANCELLED")
    metrics.attention_requested("m", 1)
    metrics.version_loaded("m", 1, 0.1)
    metrics.version_refused("m", 1, "ARTIFACT_CORRUPT")
    generate(metrics)
    model = echo_model(Datatype.FP32, "m")
    bundle = Bundle("m", 1, Path(), model.manifest, (), verified=True, graph_directory=Path())
    loaded = replace(
        fake_version(bundle, FunctionSession(model.function)), errors={"bf16": PrecisionError(0.02, 0.9999)}
    )
    metrics.watch_engine(lambda: [loaded], lambda: Cores(2, 1))
    return list(metrics.registry.collect())


def generate(metrics: Metrics) -> None:
    for failed in (False, True):
        metrics.step_ran(StepRecord("m", 1, RunKind.STEP, 1, 1, 0.1, variant="fp32", failed=failed))
    metrics.joined("m", 1, 0.1)
    metrics.paused("m", 1)
    metrics.resumed("m", 1)
    metrics.first_token("m", 1, 0.1)
    metrics.finished("m", 1, 3, 2, 0.1)
    metrics.left("m", 1, LeaveReason.END)
    metrics.watch_generation(lambda: [GenerationState("m", 1)])


def exposed_name(family: Metric) -> str:
    return f"{family.name}_total" if family.type == "counter" else family.name


def test_every_metric_is_documented(families: list[Metric]) -> None:
    assert {exposed_name(family) for family in families} - set(documented()) == set()


def test_every_documented_metric_exists(families: list[Metric]) -> None:
    assert set(documented()) - {exposed_name(family) for family in families} == set()


def test_types_are_those_of_the_page(families: list[Metric]) -> None:
    page = documented()

    for family in families:
        # Triton's counters are collected untyped, because OpenMetrics allows no counter of their names.
        told = "counter" if family.type == "unknown" else family.type
        assert page[exposed_name(family)][0] == told, family.name


def test_labels_are_those_of_the_page(families: list[Metric]) -> None:
    page = documented()

    for family in families:
        assert family.samples, f"{family.name} was not exercised"
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        assert page[exposed_name(family)][1] == labels, family.name


def test_every_way_that_a_generation_ends_and_every_kind_of_run_is_told() -> None:
    for told in (*LeaveReason, *RunKind):
        assert f"`{told.value}`" in PAGE


def test_names_in_the_queries_exist() -> None:
    page = documented()
    known = set(page) | {name + suffix for name, (kind, _) in page.items() for suffix in SUFFIXES.get(kind, ())}
    queries = re.findall(r"```promql\n(.*?)```", PAGE, re.DOTALL)

    asked = {name for query in queries for name in re.findall(r"\b(?:attendant|nv|process)_\w+", query)}

    assert queries
    assert asked - known == set()


def test_own_metrics_use_base_units(families: list[Metric]) -> None:
    for family in families:
        if family.name.startswith("attendant_"):
            assert not re.search(r"_(us|ms|ns|kb|mb|percent|count)(_|$)", family.name)
