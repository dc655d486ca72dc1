"""Operations under load, through Envoy, by a client that tries nothing again: no call fails."""

from collections.abc import Iterator

import pytest

from deploy.operations.crash import crash
from deploy.operations.load import Load, classify_image, load
from deploy.operations.roll import roll
from deploy.operations.stack import OperationFailed
from deploy.operations.take_back import take_back
from tests.containers.conftest import SERVERS

NEXT = "attendant:e2e-next"
ROUNDS = range(1, 4)


@pytest.fixture
def calls(address, fact, request) -> Iterator[Load]:
    with load(address, classify_image("digits")) as calls:
        yield calls
    fact(f"{request.node.name}: {calls}")
    assert calls.failures == []


@pytest.fixture(scope="module")
def next_image(stack, tmp_path_factory) -> Iterator[str]:
    """The same server under another image."""
    folder = tmp_path_factory.mktemp("next")
    (folder / "Dockerfile").write_text("FROM attendant\nLABEL next=yes\n")
    stack.docker("build", "--tag", NEXT, str(folder))
    yield NEXT
    stack.docker("image", "rm", "--force", NEXT)


@pytest.mark.parametrize("attempt", ROUNDS)
def test_a_replica_that_is_killed_fails_no_call(stack, calls, attempt):
    before = stack.replicas()
    crash(stack, calls)
    assert sorted(stack.replicas()) == sorted(before)
    assert calls.failures == []


@pytest.mark.parametrize("attempt", ROUNDS)
def test_rolling_to_the_next_image_and_back_fails_no_call(stack, calls, next_image, attempt):
    for image in (next_image, "attendant"):
        roll(stack, image)
        running = stack.docker("inspect", "--format", "{{.Config.Image}}", *stack.replicas()).split()
        assert running == [image] * SERVERS


@pytest.mark.parametrize("attempt", ROUNDS)
def test_a_version_that_is_taken_back_fails_no_call(stack, calls, attempt):
    take_back(stack, "digits", calls)
    assert len(calls.versions) == 2


def test_an_image_that_does_not_start_leaves_the_servers_as_they_are(stack, calls, tmp_path):
    (tmp_path / "Dockerfile").write_text("FROM attendant\nENV ATTENDANT_GRPC__PROT=1\n")
    stack.docker("build", "--tag", f"{NEXT}-wrong", str(tmp_path))
    before = stack.replicas()
    with pytest.raises(OperationFailed, match="exited with 2"):
        roll(stack, f"{NEXT}-wrong")
    assert stack.replicas() == before
    stack.docker("image", "rm", f"{NEXT}-wrong")


def test_a_server_that_is_stopped_in_the_midst_of_calls_exits_with_0(stack, calls):
    stopped = stack.replicas()[0]
    stack.docker("stop", "--time", "40", stopped)
    assert stack.docker("inspect", "--format", "{{.State.ExitCode}}", stopped).strip() == "0"
    stack.docker("start", stopped)
    stack.healthy(SERVERS)
