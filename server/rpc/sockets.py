"""Hanging up: what gRPC's own shutdown does not do for callers that go on calling.

The library cancels every call that has reached it and has not been handed to a handler yet, and there is no moment
without such calls while callers are busy: they would see CANCELLED, which says that they had given up themselves. A
connection that ends is UNAVAILABLE to them, as it is when the process dies, and is tried again by whoever tries again.
"""

import contextlib
import os
import socket
from pathlib import Path

OPEN_FILES = Path("/dev/fd")
"""Lists this process's file descriptors, on Linux and on macOS."""


def hang_up(port: int) -> None:
    """Ends listening on a TCP port of this process, then every connection to it; what was sent before still arrives.

    Where the system does not list open files nothing happens, and the library's own shutdown is all that callers see.
    """
    # Listening first: no connection can come after those that the second look finds.
    for listening in (True, False):
        for descriptor in _descriptors():
            with contextlib.suppress(OSError), _socket(descriptor) as opened:
                if _is_of(opened, port) and _listens(opened) is listening:
                    opened.shutdown(socket.SHUT_RDWR)


def _socket(descriptor: int) -> socket.socket:
    """A socket on a copy of the descriptor, which is closed with it; raises OSError for what is no socket."""
    copy = os.dup(descriptor)
    try:
        return socket.socket(fileno=copy)
    except OSError:
        os.close(copy)
        raise


def _descriptors() -> list[int]:
    try:
        return [int(entry.name) for entry in OPEN_FILES.iterdir()]
    except OSError:
        return []


def _is_of(opened: socket.socket, port: int) -> bool:
    """Whether this is the server's end of a connection, or what listens for them."""
    return opened.family in (socket.AF_INET, socket.AF_INET6) and opened.getsockname()[1] == port


def _listens(opened: socket.socket) -> bool:
    return bool(opened.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
