"""What goes wrong around a server: it says so in a sentence, and exits with the code for it."""

import subprocess
from collections.abc import Iterator

import pytest

from tests.containers.conftest import PROJECT

FLAGS = ("--rm", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges:true")


NAME = f"{PROJECT}_mishap"


def ended(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Runs a container to its end, and removes it if it does not come to one."""
    try:
        command = ["docker", "run", "--name", NAME, *FLAGS, *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)
    finally:
        subprocess.run(["docker", "rm", "--force", NAME], capture_output=True)


@pytest.fixture
def closed_store(project) -> Iterator[str]:
    """A volume that only root may look into, and not empty: an empty one would get the image's owner when mounted."""
    name = f"{PROJECT}_closed"
    project.docker("volume", "create", name)
    as_root = ("run", "--rm", "--user", "0:0", "--network", "none", "--volume", f"{name}:/store")
    project.docker(
        *as_root, "--entrypoint", "sh", "attendant", "-c", "chown 0:0 /store; chmod 0700 /store; touch /store/kept"
    )
    yield name
    project.docker("volume", "rm", name)


@pytest.mark.parametrize(
    ("variable", "says"),
    [
        ("ATTENDANT_GRPC__PORT=many", "setting grpc.port: Input should be a valid integer"),
        ("ATTENDANT_GRPC__PROT=1", "environment variable ATTENDANT_GRPC__PROT names no setting"),
        ("ATTENDANT_GRPC__PORT=8002", "grpc.port and telemetry.metrics_port are both 8002"),
    ],
)
def test_a_wrong_setting_is_said_before_anything_listens_and_exits_with_2(project, variable, says):
    done = ended("--network", "none", "--env", variable, "attendant")
    assert done.returncode == 2
    assert says in done.stderr
    assert "starting" not in done.stderr


def test_a_store_that_may_not_be_read_is_said_and_exits_with_1(project, closed_store):
    done = ended("--network", "none", "--volume", f"{closed_store}:/store:ro", "attendant")
    assert done.returncode == 1
    assert "the store /store cannot be read: Permission denied" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_in_use_is_said_and_exits_with_1(stack):
    neighbour = f"container:{stack.replicas()[0]}"
    done = ended("--network", neighbour, "--env", "ATTENDANT_TELEMETRY__METRICS_PORT=0", "attendant")
    assert done.returncode == 1
    assert "cannot listen on 0.0.0.0:8001: is the port in use?" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_full_disk_at_publish_is_said_and_leaves_nothing(trained):
    publish = "python -m models publish digits --run /runs/digits --store /full"
    script = f"{publish}; code=$?; ls -A /full/digits; exit $code"
    runs = ("--volume", f"{PROJECT}_runs:/runs:ro", "--tmpfs", "/full:size=256k,mode=1777", "--tmpfs", "/tmp")
    done = ended("--network", "none", *runs, "--entrypoint", "sh", "attendant-train", "-c", script)
    assert done.returncode == 1
    assert "no room in the store /full for digits" in done.stderr
    assert done.stdout == ""
