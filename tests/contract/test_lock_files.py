"""The lock files of the images are what the ranges in pyproject.toml allow, with hashes and for every platform."""

import re

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement

from deploy.lock import FOLDER, LOCKS, OWN, TORCH, bounds_of_the_tests, pins, requirements

TEXTS = {lock.name: (FOLDER / f"{lock.name}.txt").read_text(encoding="utf-8") for lock in LOCKS}
LINUX = {**default_environment(), "sys_platform": "linux", "platform_system": "Linux"}


def entries(text: str) -> list[str]:
    return re.findall(r"^[a-z0-9].*?(?=^[a-z0-9]|\Z)", text, re.M | re.S)


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_a_lock_file_satisfies_the_ranges(lock):
    locked = pins(TEXTS[lock.name])
    for requirement in map(Requirement, requirements(lock)):
        if requirement.name != TORCH and (requirement.marker is None or requirement.marker.evaluate(LINUX)):
            assert requirement.specifier.contains(locked[requirement.name]), requirement


@pytest.mark.parametrize("name", TEXTS)
def test_a_lock_file_stays_within_what_the_tests_bound(name):
    locked = pins(TEXTS[name])
    for requirement in map(Requirement, bounds_of_the_tests()):
        assert requirement.specifier.contains(locked.get(requirement.name, "")) or requirement.name not in locked


@pytest.mark.parametrize("name", TEXTS)
def test_every_package_of_a_lock_file_has_its_hashes(name):
    assert len(entries(TEXTS[name])) == len(pins(TEXTS[name]))
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}\n", entry) for entry in entries(TEXTS[name]))


@pytest.mark.parametrize("name", TEXTS)
def test_a_lock_file_names_no_place_to_download_from(name):
    assert "://" not in TEXTS[name]
    assert not re.search(r"^(--|-[a-z])", TEXTS[name], re.M)


@pytest.mark.parametrize("lock", [lock for lock in LOCKS if lock.like], ids=lambda lock: lock.name)
def test_what_two_images_share_has_one_version(lock):
    one, other = pins(TEXTS[lock.name]), pins(TEXTS[lock.like])
    assert one.keys() & other.keys()
    assert {name for name in one.keys() & other.keys() if one[name] != other[name]} == set()


def test_neither_torch_nor_cuda_nor_what_is_built_here_is_locked():
    named = {name for text in TEXTS.values() for name in pins(text)}
    assert not named & {TORCH, "triton", *OWN}
    assert not {name for name in named if name.startswith(("nvidia-", "cuda-"))}


def test_the_default_image_is_locked_for_both_processors():
    serve = next(lock for lock in LOCKS if lock.name == "serve")
    assert [platform.split("-")[0] for platform in serve.platforms] == ["x86_64", "aarch64"]
