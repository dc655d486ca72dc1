"""BYTES tensors in raw form: each element follows its length, four bytes, little-endian."""

import struct
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from server.errors import MalformedTensor
from server.rpc.addressing import shown

LENGTH = struct.Struct("<I")


def split_bytes(name: str, content: bytes, elements: int) -> NDArray[np.object_]:
    """The elements of a raw BYTES tensor: (elements,) of bytes.

    Raises MalformedTensor where the lengths do not add up or the count is another; each element takes at least
    its length's four bytes, so a count is refused before anything is allocated for it.
    """
    if elements * LENGTH.size > len(content):
        raise MalformedTensor(f"input {shown(name)}: {len(content)} bytes cannot hold {elements} BYTES elements")
    found = np.empty(elements, dtype=np.object_)
    position = 0
    for index in range(elements):
        start = position + LENGTH.size
        if start > len(content):
            raise MalformedTensor(f"input {shown(name)}: the bytes end before the length of element {index}")
        position = start + LENGTH.unpack_from(content, start - LENGTH.size)[0]
        if position > len(content):
            raise MalformedTensor(f"input {shown(name)}: element {index} is longer than the bytes that are left")
        found[index] = content[start:position]
    if position != len(content):
        raise MalformedTensor(f"input {shown(name)}: {len(content) - position} bytes left after element {elements - 1}")
    return found


def join_bytes(elements: Iterable[bytes]) -> bytes:
    """Elements in raw form."""
    return b"".join(part for element in elements for part in (LENGTH.pack(len(element)), element))
