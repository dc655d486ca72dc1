"""One object of POSIX shared memory, opened as shm_open would and read and written through its descriptor.

It is never mapped: whoever truncates it later causes an error here, where a mapping would end the server with SIGBUS.
"""

import errno
import os
import re
import stat
import weakref
from pathlib import Path

from server.errors import ParameterInvalid, RegionNotFound
from server.rpc.addressing import shown

DIRECTORY = Path("/dev/shm")  # noqa: S108
"""Where Linux keeps the objects of shm_open."""
KEY = re.compile(r"/?(?P<name>[A-Za-z0-9._-]{1,249})")
"""As shm_open takes them: one name, with or without the leading slash."""
SEMAPHORE_PREFIX = "sem."
"""POSIX semaphores lie in the same folder; whoever writes into one hangs its users."""
FLAGS = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


class SharedObject:
    """Open until nobody refers to it, so that a copy that goes on in another thread never loses its descriptor."""

    def __init__(self, descriptor: int, *, writable: bool) -> None:
        """Takes the descriptor over."""
        self.writable = writable
        self._descriptor = descriptor
        self._close = weakref.finalize(self, os.close, descriptor)

    @property
    def byte_size(self) -> int:
        """Its size now."""
        return os.fstat(self._descriptor).st_size

    def read(self, begin: int, byte_size: int) -> bytes:
        """A copy of these bytes; fewer where the object ends before."""
        content = os.pread(self._descriptor, byte_size, begin)
        while len(content) < byte_size:
            more = os.pread(self._descriptor, byte_size - len(content), begin + len(content))
            if not more:
                break
            content += more
        return content

    def write(self, begin: int, content: bytes) -> bool:
        """Whether all of `content` was written; an object that is too short is left as it is, not extended."""
        if begin + len(content) > self.byte_size:
            return False
        position = 0
        try:
            while position < len(content):
                position += os.pwrite(self._descriptor, memoryview(content)[position:], begin + position)
        except OSError:
            return False
        return True


def open_object(key: str, prefix: str, directory: Path = DIRECTORY) -> SharedObject:
    """Opens the object that a caller's key names; read-only where this process may not write.

    Raises ParameterInvalid for a key that is no plain name, does not begin with `prefix`, or names what is no shared
    memory object; RegionNotFound where there is none of this name.
    """
    path = directory / _checked(key, prefix)
    try:
        try:
            descriptor, writable = os.open(path, os.O_RDWR | FLAGS), True
        except PermissionError:
            descriptor, writable = os.open(path, os.O_RDONLY | FLAGS), False
    except FileNotFoundError as error:
        raise RegionNotFound(f"no shared memory object has the key {shown(key)}") from error
    except OSError as error:
        why = "is a link" if error.errno == errno.ELOOP else "cannot be opened by this server"
        raise ParameterInvalid(f"the shared memory object {shown(key)} {why}", {"parameter": "key"}) from error
    opened = SharedObject(descriptor, writable=writable)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise ParameterInvalid(f"{shown(key)} is no shared memory object", {"parameter": "key"})
    return opened


def _checked(key: str, prefix: str) -> str:
    """The object's name, from which no path can be made that leaves the folder."""
    found = KEY.fullmatch(key)
    name = found["name"] if found else ""
    if not name.strip(".") or name.startswith(SEMAPHORE_PREFIX):
        raise ParameterInvalid(
            f"key {shown(key)} names no shared memory object: expected one name of letters, digits, '.', '_' and '-', "
            "with or without a slash before it",
            {"parameter": "key"},
        )
    if not name.startswith(prefix):
        raise ParameterInvalid(
            f"key {shown(key)} is not allowed: keys begin with {prefix!r} here (security.shared_memory_prefix)",
            {"parameter": "key"},
        )
    return name
