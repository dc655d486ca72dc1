"""Counts and distributions in the form in which prometheus_client exposes its own."""

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from server.telemetry.series import Counts, Distributions

BOUNDS = (0.0, 0.0005, 0.1, 1, 2.5, 1024)
VALUES = (0.0, 0.0001, 0.0005, 0.05, 0.1, 0.10000001, 1.0, 3, 1024, 5000)


@pytest.fixture
def ours() -> CollectorRegistry:
    registry = CollectorRegistry()
    seconds = Distributions("took_seconds", "How long.", ("model", "method"), 1, BOUNDS)
    ended = Counts("ended_total", "How many.", ("model", "reason"), 1)
    registry.register(seconds)
    registry.register(ended)
    for value in VALUES:
        seconds.of("m", "Do").observe(value)
    ended.of("m", "OK").add()
    ended.of("m", "OK").add(2.5)
    ended.of("n", 'a "reason"\n').add()
    return registry


@pytest.fixture
def theirs() -> CollectorRegistry:
    disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    seconds = Histogram("took_seconds", "How long.", ("model", "method"), registry=registry, buckets=BOUNDS)
    ended = Counter("ended_total", "How many.", ("model", "reason"), registry=registry)
    for value in VALUES:
        seconds.labels("m", "Do").observe(value)
    ended.labels("m", "OK").inc()
    ended.labels("m", "OK").inc(2.5)
    ended.labels("n", 'a "reason"\n').inc()
    return registry


def test_both_formats_are_byte_for_byte_those_of_the_library(
    ours: CollectorRegistry, theirs: CollectorRegistry
) -> None:
    assert generate_latest(ours) == generate_latest(theirs)
    assert generate_openmetrics(ours) == generate_openmetrics(theirs)  # type: ignore[no-untyped-call]


def test_the_same_labels_are_the_same_series() -> None:
    ended = Counts("ended_total", "How many.", ("model",), 1)

    assert ended.of("m") is ended.of("m")
    assert ended.of("m") is not ended.of("n")


def test_only_the_series_of_the_owner_go() -> None:
    ended = Counts("ended_total", "How many.", ("model", "version", "reason"), 2)
    for labels in (("m", "1", "OK"), ("m", "1", "CANCELLED"), ("m", "2", "OK"), ("m", "11", "OK")):
        ended.of(*labels).add()

    ended.forget("m", "1")
    ended.forget("m", "3")

    (family,) = ended.collect()
    assert [(sample.labels["version"], sample.labels["reason"]) for sample in family.samples] == [
        ("2", "OK"),
        ("11", "OK"),
    ]


def test_a_metric_without_series_still_says_what_it_is() -> None:
    (family,) = Distributions("took_seconds", "How long.", ("model",), 1, BOUNDS).collect()

    assert (family.name, family.type, family.samples) == ("took_seconds", "histogram", [])
