"""The whole of it in containers: `make e2e-containers`. Nothing here runs with the other tests.

The stack is a compose project of its own, on free ports and with volumes of its own, so that it meets no other one.
"""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import attendant
import pytest
from attendant.errors import AttendantError
from PIL import Image

from deploy.operations.stack import ROOT, OperationFailed, Stack
from tests.support.prometheus import free_port

HERE = Path(__file__).parent
ORDER = ("test_images", "test_calls", "test_watched", "test_operations", "test_mishaps", "test_down")
"""Modules in the order of a stack's life; the last leaves nothing of it."""
PROJECT = "attendant-e2e"
SERVERS = 2
SERVICES = "envoy server prometheus"
"""Without Grafana: its dashboards are checked against Prometheus, which needs none."""
PATIENCE_S = 120.0
DIGIT = 3

FACTS: list[str] = []


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Only where the folder is asked for by its name."""
    asked = (Path(argument.split("::")[0]).resolve() for argument in config.args)
    return None if any(path.is_relative_to(HERE) for path in asked) else True


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The hook gets the tests of all folders; others stay where they are."""
    items.sort(key=lambda item: ORDER.index(item.path.stem) if item.path.parent == HERE else -1)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if FACTS:
        terminalreporter.section("measured")
    for fact in FACTS:
        terminalreporter.write_line(fact)


@pytest.fixture(scope="session")
def fact() -> Callable[[str], None]:
    """Takes a line to show after the last test."""
    return FACTS.append


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    ports = {name: str(free_port()) for name in ("GRPC_PORT", "PROMETHEUS_PORT", "GRAFANA_PORT")}
    return {"COMPOSE_PROJECT_NAME": PROJECT, **ports}


@pytest.fixture(scope="session")
def project(environment: dict[str, str]) -> Iterator[Stack]:
    """Compose with nothing started: the volumes are empty, and nothing is left afterwards."""
    stack = Stack(environment)
    stack.compose("down", "--volumes", "--remove-orphans")
    yield stack
    stack.compose("down", "--volumes", "--remove-orphans")


@pytest.fixture(scope="session")
def trained(project: Stack, fact: Callable[[str], None]) -> Stack:
    """`digits` trained, exported, verified and published by the container that is made for it."""
    began = time.monotonic()
    told = project.compose("run", "--rm", "train")
    assert "published digits version 1" in told
    fact(f"train, export, verify and publish digits in a container: {time.monotonic() - began:.0f} s")
    return project


@pytest.fixture(scope="session")
def stack(trained: Stack, environment: dict[str, str], fact: Callable[[str], None]) -> Stack:
    """Two servers behind Envoy, watched by Prometheus."""
    began = time.monotonic()
    up = make("up", environment, f"SERVERS={SERVERS}", f"SERVICES={SERVICES}")
    answered_s = first_answer(f"127.0.0.1:{environment['GRPC_PORT']}", up) - began
    told, _ = up.communicate(timeout=PATIENCE_S)
    assert up.returncode == 0, told
    fact(f"`make up` to the first answer: {answered_s:.1f} s; to all healthy: {time.monotonic() - began:.1f} s")
    usage = trained.docker("stats", "--no-stream", "--format", "{{.MemUsage}}", *trained.replicas()).splitlines()
    fact(f"idle memory of each server: {', '.join(line.split(' / ')[0] for line in usage)}")
    return trained


@pytest.fixture(scope="session")
def address(stack: Stack) -> str:
    return stack.address("envoy", 8001)


@pytest.fixture(scope="session")
def digit() -> bytes:
    """A handwritten 3 as a picture."""
    from sklearn.datasets import load_digits

    content = BytesIO()
    pixels = load_digits().images[DIGIT] * (255 / 16)
    Image.fromarray(pixels.astype("uint8")).save(content, format="PNG")
    return content.getvalue()


def make(target: str, environment: dict[str, str], *variables: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        ["make", target, *variables],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def first_answer(address: str, up: "subprocess.Popen[str]") -> float:
    """When `digits` first answered, on the monotonic clock."""
    deadline = time.monotonic() + PATIENCE_S
    content = BytesIO()
    Image.new("L", (8, 8)).save(content, format="PNG")
    with attendant.Client(address, retries=0) as client:
        while time.monotonic() < deadline and up.poll() in (None, 0):
            with suppress(AttendantError):
                client.classify("digits", content.getvalue())
                return time.monotonic()
            time.sleep(0.1)
    raise OperationFailed("digits did not answer")
