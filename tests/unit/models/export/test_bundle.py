import pytest

from models.export.bundle import read_candidate, write_manifest
from models.export.failure import CandidateUnusable
from server.manifest import MANIFEST_FILE
from tests.support.bundles import tiny_candidate


def test_manifest_is_read_as_it_was_written(tmp_path, model):
    manifest = read_candidate(tiny_candidate(model))
    write_manifest(tmp_path, manifest)
    assert read_candidate(tmp_path) == manifest


def test_missing_bundle_is_named_with_the_command_that_makes_one(tmp_path):
    with pytest.raises(CandidateUnusable, match=r"no candidate bundle in .*python -m models export"):
        read_candidate(tmp_path)


def test_broken_manifest_is_named(tmp_path):
    (tmp_path / MANIFEST_FILE).write_text("{")
    with pytest.raises(CandidateUnusable, match="not JSON"):
        read_candidate(tmp_path)
