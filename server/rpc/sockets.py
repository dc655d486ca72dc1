"""Hanging up: what gRPC's own shutdown does not do for callers that go on calling.

The library cancels every call that has reached it and has not been handed to a handler yet, and there is no moment
without such calls while callers are busy: they would see CANCELLED, which says that they had given up themselves. A
connection that ends is UNAVAILABLE to them, as it is when the process dies, and is tried again by whoever tries again.
"""

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

OPEN_FILES = Path("/dev/fd")
"""Lists this process's file descriptors, on Linux and on macOS."""


def hang_up(port: int) -> None:
    """Ends listening on a TCP port of this process, then every connection to it; what was sent before still arrives.

    Where the system does not list open files nothing happens, and the library's own shutdown is all that callers see.
    """
    for descriptor, opened in _sockets_of(port):
        with opened:
            if _listens(opened):
                _replace(descriptor)
    # No connection can come after those that this second look finds.
    for _, opened in _sockets_of(port):
        with opened, suppress(OSError):
            opened.shutdown(socket.SHUT_RDWR)


def _sockets_of(port: int) -> Iterator[tuple[int, socket.socket]]:
    """(descriptor, the socket behind it under a descriptor of its own), for the server's end of whatever is open."""
    try:
        descriptors = [int(entry.name) for entry in OPEN_FILES.iterdir()]
    except OSError:
        return
    for descriptor in descriptors:
        with suppress(OSError):
            copy = os.dup(descriptor)
            if not stat.S_ISSOCK(os.fstat(copy).st_mode):
                os.close(copy)
                continue
            opened = socket.socket(fileno=copy)
            if opened.family in (socket.AF_INET, socket.AF_INET6) and opened.getsockname()[1] == port:
                yield descriptor, opened
            else:
                opened.close()


def _listens(opened: socket.socket) -> bool:
    return bool(opened.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


def _replace(descriptor: int) -> None:
    """Puts a socket that nobody connects to in the place of the one that listens, which closes the latter.

    The library goes on waiting at it until it is stopped; it would log the end of its own as an error.
    """
    with socket.create_server(("127.0.0.1", 0)) as unknown:
        unknown.setblocking(False)
        os.dup2(unknown.fileno(), descriptor, inheritable=False)
