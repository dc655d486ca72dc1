"""A real Prometheus over real servers and a real Envoy: everything that is shipped to watch them has an answer."""

import json
import time
from urllib.request import urlopen

import attendant
import pytest

from deploy.prometheus.expressions import expressions, missing
from tests.containers.conftest import PATIENCE_S, SERVERS

UNWATCHED = ("attendant_generation_",)
"""The stack's store has no model that writes token by token."""


@pytest.fixture
def prometheus(stack) -> str:
    return f"http://{stack.address('prometheus', 9090)}"


def test_every_replica_is_a_target_that_is_up(stack, prometheus):
    def up() -> int:
        with urlopen(f"{prometheus}/api/v1/targets?state=active") as reply:  # noqa: S310
            targets = json.load(reply)["data"]["activeTargets"]
        return sum(target["labels"]["job"] == "attendant" and target["health"] == "up" for target in targets)

    stack.until(f"{SERVERS} servers are scraped", lambda: up() == SERVERS)
    assert up() == SERVERS


def test_every_expression_of_dashboards_and_alerts_has_an_answer(prometheus, address, digit, fact):
    deadline = time.monotonic() + PATIENCE_S
    with attendant.Client(address) as client:
        while (problems := missing(prometheus, without=UNWATCHED)) and time.monotonic() < deadline:
            for _ in range(20):
                client.classify("digits", digit, attention=True)
    assert problems == []
    fact(f"expressions of dashboards and alerts that Prometheus has an answer to: {len(expressions())}")
