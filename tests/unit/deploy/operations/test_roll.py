"""The order of a roll, on a stack that only notes what it is told; tests/containers has the real one."""

import pytest

from deploy.operations.roll import roll
from deploy.operations.stack import OperationFailed


class NotedStack:
    """Servers by name; those of an image in `broken` never become healthy."""

    def __init__(self, *servers: str, broken: str = "") -> None:
        self.servers, self.broken = list(servers), broken
        self.notes: list[str] = []

    def replicas(self) -> list[str]:
        return list(self.servers)

    def docker(self, *arguments: str) -> str:
        if arguments[:2] == ("rm", "--force"):
            self.remove(arguments[2])
        return ""

    def compose(self, *_: str) -> str:
        return "\n".join(self.servers)

    def scale(self, servers: int, *, SERVER_IMAGE: str) -> None:  # noqa: N803
        self.notes.append(f"up to {servers}")
        while len(self.servers) < servers:
            self.servers.append(f"{SERVER_IMAGE}-{len(self.notes)}")

    def healthy(self, servers: int) -> None:
        if any(self.broken and name.startswith(self.broken) for name in self.servers):
            raise OperationFailed("it exited with 2")
        assert len(self.servers) == servers

    def remove(self, replica: str) -> None:
        self.notes.append(f"{replica} gone")
        self.servers.remove(replica)


def test_a_new_server_is_there_before_an_old_one_goes():
    stack = NotedStack("a", "b")
    roll(stack, "new")
    assert stack.notes == ["up to 3", "a gone", "up to 3", "b gone"]
    assert stack.servers == ["new-1", "new-3"]


def test_a_new_server_that_does_not_start_is_removed_and_no_old_one_goes():
    stack = NotedStack("a", "b", broken="new")
    with pytest.raises(OperationFailed, match="exited with 2"):
        roll(stack, "new")
    assert stack.servers == ["a", "b"]


def test_nothing_is_started_where_nothing_runs():
    stack = NotedStack()
    with pytest.raises(OperationFailed, match="no server runs"):
        roll(stack, "new")
    assert stack.notes == []
