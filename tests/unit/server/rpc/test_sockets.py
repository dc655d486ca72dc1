import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.rpc import sockets
from server.rpc.sockets import hang_up


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def test_what_was_sent_before_arrives_and_then_the_connection_ends(listener):
    with socket.create_connection(listener.getsockname()) as caller, listener.accept()[0] as served:
        served.sendall(b"the last reply")
        hang_up(listener.getsockname()[1])
        assert caller.recv(100) == b"the last reply"
        assert caller.recv(100) == b""


def test_nobody_can_connect_any_more(listener):
    address = listener.getsockname()
    hang_up(address[1])
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)


def test_a_connection_that_nobody_has_accepted_yet_ends_too(listener):
    with socket.create_connection(listener.getsockname()) as caller:
        hang_up(listener.getsockname()[1])
        with pytest.raises(ConnectionResetError):
            caller.recv(100)


def test_whoever_waits_for_connections_hears_of_none_and_of_no_error(listener):
    hang_up(listener.getsockname()[1])
    with pytest.raises(BlockingIOError):
        listener.accept()


def test_other_ports_stay_as_they_are(listener):
    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        socket.create_connection(other.getsockname()) as caller,
        other.accept()[0] as served,
    ):
        hang_up(listener.getsockname()[1])
        caller.sendall(b"still here")
        assert served.recv(100) == b"still here"
        socket.create_connection(other.getsockname()).close()


def test_no_descriptor_is_left_open(listener):
    with socket.create_connection(listener.getsockname()), listener.accept()[0]:
        before = sorted(sockets.OPEN_FILES.iterdir())
        hang_up(listener.getsockname()[1])
        assert sorted(sockets.OPEN_FILES.iterdir()) == before


def test_a_system_that_lists_no_open_files_is_left_to_the_library(listener, monkeypatch):
    monkeypatch.setattr(sockets, "OPEN_FILES", Path("/dev/no-such-folder"))
    hang_up(listener.getsockname()[1])
    with socket.create_connection(listener.getsockname()) as connection:
        assert connection.getpeername() == listener.getsockname()
