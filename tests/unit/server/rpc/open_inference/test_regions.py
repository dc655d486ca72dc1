"""Registered regions: their bounds at registration and at use."""

import os
from pathlib import Path

import pytest

from server.errors import (
    MalformedTensor,
    ParameterInvalid,
    PayloadTooLarge,
    RegionExists,
    RegionLimitExceeded,
    RegionNotFound,
)
from server.rpc.open_inference.regions import INLINE_BYTES, RegionPart, Regions
from server.settings import SecuritySettings


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "object").write_bytes(b"0123456789")
    return tmp_path


@pytest.fixture
def regions(directory: Path) -> Regions:
    found = Regions(SecuritySettings(max_shared_memory_regions=2, max_shared_memory_bytes=16), directory)
    found.register("r", "/object", 2, 6)
    return found


def test_a_region_is_listed_as_it_was_registered(regions):
    (region,) = regions.registered()
    assert (region.name, region.key, region.offset, region.byte_size) == ("r", "/object", 2, 6)
    assert regions.registered("r") == [region]


async def test_a_part_counts_from_the_beginning_of_its_region(regions, directory):
    assert await regions.read(RegionPart("r", 0, 6), 100) == b"234567"
    assert await regions.read(RegionPart("r", 4, 2), 100) == b"67"
    assert await regions.read(RegionPart("r", 6, 0), 100) == b""
    await regions.write(RegionPart("r", 1, 5), b"ab")
    assert (directory / "object").read_bytes() == b"012ab56789"


@pytest.mark.parametrize("part", [RegionPart("r", 0, 7), RegionPart("r", 6, 1), RegionPart("r", 2**63, 1)])
async def test_a_part_outside_its_region_is_refused(regions, part):
    with pytest.raises(ParameterInvalid, match="not all in the region 'r', which has 6"):
        await regions.read(part, 2**64)
    with pytest.raises(ParameterInvalid, match="not all in the region"):
        regions.check_output(part)


async def test_an_output_larger_than_its_part_is_refused(regions, directory):
    with pytest.raises(ParameterInvalid, match="takes 3 bytes; its part of region 'r' has 2"):
        await regions.write(RegionPart("r", 0, 2), b"abc")
    assert (directory / "object").read_bytes() == b"0123456789"


async def test_an_input_over_the_limit_of_one_tensor_is_refused(regions):
    with pytest.raises(PayloadTooLarge) as caught:
        await regions.read(RegionPart("r", 0, 6), 5)
    assert caught.value.metadata == {"bytes": "6", "max_bytes": "5"}


async def test_a_region_that_nobody_registered_is_not_found(regions):
    with pytest.raises(RegionNotFound, match="'other'"):
        await regions.read(RegionPart("other", 0, 1), 10)
    with pytest.raises(RegionNotFound):
        regions.registered("other")


async def test_a_region_whose_object_has_shrunk_is_an_error_and_no_signal(regions, directory):
    os.truncate(directory / "object", 5)
    with pytest.raises(MalformedTensor, match="shrunk"):
        await regions.read(RegionPart("r", 0, 6), 10)
    with pytest.raises(MalformedTensor, match="shrunk"):
        await regions.write(RegionPart("r", 0, 6), b"abcdef")
    assert await regions.read(RegionPart("r", 0, 3), 10) == b"234"


async def test_large_parts_go_there_and_back(tmp_path):
    content = os.urandom(INLINE_BYTES + 1)
    (tmp_path / "large").write_bytes(content)
    regions = Regions(SecuritySettings(), tmp_path)
    regions.register("r", "large", 0, len(content))
    part = RegionPart("r", 0, len(content))
    assert await regions.read(part, len(content)) == content
    await regions.write(part, content[::-1])
    assert (tmp_path / "large").read_bytes() == content[::-1]


def test_a_name_is_registered_once_until_it_is_unregistered(regions):
    with pytest.raises(RegionExists, match="'r'"):
        regions.register("r", "object", 0, 1)
    regions.unregister("r")
    regions.register("r", "object", 0, 1)


def test_unregistering_what_is_not_there_is_no_error(regions):
    regions.unregister("other")
    regions.unregister()
    regions.unregister()
    assert regions.registered() == []


@pytest.mark.parametrize(
    ("name", "offset", "byte_size", "says"),
    [
        ("", 0, 1, "a region's name"),
        ("x" * 257, 0, 1, "a region's name"),
        ("a\nb", 0, 1, "a region's name"),
        ("a", 0, 0, "byte_size is 0"),
        ("a", 5, 6, "not all in the object"),
        ("a", 10, 1, "not all in the object"),
        ("a", 2**64 - 1, 1, "not all in the object"),
    ],
)
def test_a_region_that_cannot_be_is_refused(regions, name, offset, byte_size, says):
    with pytest.raises(ParameterInvalid, match=says):
        regions.register(name, "object", offset, byte_size)


def test_no_more_regions_and_bytes_than_the_settings_allow(regions):
    with pytest.raises(RegionLimitExceeded) as caught:
        regions.register("s", "object", 0, 2**64 - 1)
    assert caught.value.metadata["max_bytes"] == "16"
    regions.register("s", "object", 0, 10)
    with pytest.raises(RegionLimitExceeded, match="2 regions"):
        regions.register("t", "object", 0, 1)
