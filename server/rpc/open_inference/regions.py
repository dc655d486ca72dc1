"""Regions of system shared memory that callers have registered, and the bytes of tensors in and out of them.

A region is a name for a stretch of a shared memory object. Inputs are copied out once, so that a caller who goes on
writing cannot change what has been checked.
"""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from server.errors import (
    MalformedTensor,
    ParameterInvalid,
    PayloadTooLarge,
    RegionExists,
    RegionLimitExceeded,
    RegionNotFound,
)
from server.rpc.addressing import shown
from server.rpc.open_inference.shared_object import DIRECTORY, SharedObject, open_object
from server.settings import SecuritySettings

MAX_NAME_CHARACTERS = 256
INLINE_BYTES = 256 * 1024
"""Fewer are copied on the event loop: the hop to a thread would cost more than the copy."""


@dataclass(frozen=True, slots=True)
class RegionPart:
    """A stretch of a registered region that stands for a tensor's bytes."""

    region: str
    offset: int
    """In bytes from the region's beginning."""
    byte_size: int


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """A stretch of a shared memory object, by a name."""

    name: str
    key: str
    """As the caller gave it."""
    offset: int
    """In bytes from the object's beginning."""
    byte_size: int
    shared: SharedObject


class Regions:
    """The registered regions by name; used from the event loop's thread only."""

    def __init__(self, settings: SecuritySettings, directory: Path = DIRECTORY) -> None:
        self._settings = settings
        self._directory = directory
        self._regions: dict[str, Region] = {}

    def register(self, name: str, key: str, offset: int, byte_size: int) -> None:
        """Opens an object and keeps the stretch under the name.

        Raises ParameterInvalid for a name, key or size that cannot be, RegionExists, RegionLimitExceeded,
        RegionNotFound where no object has the key.
        """
        if not (0 < len(name) <= MAX_NAME_CHARACTERS and name.isprintable()):
            raise ParameterInvalid(
                f"a region's name has 1 to {MAX_NAME_CHARACTERS} printable characters", {"parameter": "name"}
            )
        if byte_size < 1:
            raise ParameterInvalid("byte_size is 0; a region has at least one byte", {"parameter": "byte_size"})
        if name in self._regions:
            raise RegionExists(f"a region named {shown(name)} is registered; unregister it first")
        self._check_room(byte_size)
        shared = open_object(key, self._settings.shared_memory_prefix, self._directory)
        if offset + byte_size > shared.byte_size:
            raise ParameterInvalid(
                f"bytes {offset} to {offset + byte_size} are not all in the object {shown(key)}, which has "
                f"{shared.byte_size}",
                {"parameter": "byte_size"},
            )
        self._regions[name] = Region(name, key, offset, byte_size, shared)

    def registered(self, name: str = "") -> list[Region]:
        """All regions, or the named one. Raises RegionNotFound."""
        return [self._find(name)] if name else list(self._regions.values())

    def unregister(self, name: str = "") -> None:
        """Forgets all regions, or the named one; one that is not there is no error, as in Triton."""
        if name:
            self._regions.pop(name, None)
        else:
            self._regions.clear()

    def check_output(self, part: RegionPart) -> None:
        """Raises RegionNotFound, ParameterInvalid for a part outside its region or a region that is read-only."""
        if not self._region_of(part).shared.writable:
            raise ParameterInvalid(
                f"region {shown(part.region)} is read-only for this server", {"parameter": "shared_memory_region"}
            )

    async def read(self, part: RegionPart, max_bytes: int) -> bytes:
        """A copy of the part's bytes.

        Raises RegionNotFound, ParameterInvalid for a part outside its region, PayloadTooLarge for more than
        `max_bytes`, MalformedTensor where the object has shrunk since it was registered.
        """
        region = self._region_of(part)
        if part.byte_size > max_bytes:
            raise PayloadTooLarge(
                f"{part.byte_size} bytes of region {shown(part.region)} are over the limit of {max_bytes} for one "
                "tensor",
                {"bytes": str(part.byte_size), "max_bytes": str(max_bytes)},
            )
        begin = region.offset + part.offset
        if part.byte_size <= INLINE_BYTES:
            content = region.shared.read(begin, part.byte_size)
        else:
            content = await asyncio.to_thread(region.shared.read, begin, part.byte_size)
        if len(content) != part.byte_size:
            raise MalformedTensor(f"region {shown(part.region)} has shrunk since it was registered")
        return content

    async def write(self, part: RegionPart, content: bytes) -> None:
        """Writes an output's bytes to the beginning of the part.

        Raises what `check_output` raises, ParameterInvalid where the part is too small, MalformedTensor where the
        object has shrunk since it was registered or takes no more.
        """
        self.check_output(part)
        if len(content) > part.byte_size:
            raise ParameterInvalid(
                f"the output takes {len(content)} bytes; its part of region {shown(part.region)} has {part.byte_size}",
                {"parameter": "shared_memory_byte_size"},
            )
        region = self._region_of(part)
        begin = region.offset + part.offset
        if len(content) <= INLINE_BYTES:
            written = region.shared.write(begin, content)
        else:
            written = await asyncio.to_thread(region.shared.write, begin, content)
        if not written:
            raise MalformedTensor(f"region {shown(part.region)} has shrunk since it was registered, or takes no more")

    def _region_of(self, part: RegionPart) -> Region:
        region = self._find(part.region)
        if part.offset + part.byte_size > region.byte_size:
            raise ParameterInvalid(
                f"bytes {part.offset} to {part.offset + part.byte_size} are not all in the region "
                f"{shown(part.region)}, which has {region.byte_size}",
                {"parameter": "shared_memory_byte_size"},
            )
        return region

    def _find(self, name: str) -> Region:
        if name not in self._regions:
            raise RegionNotFound(f"no region of system shared memory is registered as {shown(name)}")
        return self._regions[name]

    def _check_room(self, byte_size: int) -> None:
        """Raises RegionLimitExceeded."""
        if len(self._regions) >= self._settings.max_shared_memory_regions:
            raise RegionLimitExceeded(f"{len(self._regions)} regions are registered, as many as this server keeps")
        registered = sum(region.byte_size for region in self._regions.values())
        limit = self._settings.max_shared_memory_bytes
        if registered + byte_size > limit:
            raise RegionLimitExceeded(
                f"{registered} bytes of regions are registered; {byte_size} more are over the limit of {limit}",
                {"bytes": str(byte_size), "max_bytes": str(limit)},
            )
