"""What is left."""

import pytest

from tests.containers.conftest import PROJECT, make


@pytest.fixture
def owned(project):
    """What Docker has of this project: containers, networks, volumes."""
    of_project = ("--quiet", "--filter", f"label=com.docker.compose.project={PROJECT}")

    def owned() -> list[str]:
        kinds = (("ps", "--all"), ("network", "ls"), ("volume", "ls"))
        return [name for kind in kinds for name in project.docker(*kind, *of_project).split()]

    return owned


def test_down_with_its_volumes_leaves_nothing(stack, environment, owned):
    assert owned()
    down = make("down", environment, "DOWN=--volumes")
    told, _ = down.communicate(timeout=120)
    assert down.returncode == 0, told
    assert owned() == []
