import shutil

import pytest

from models.explain.failure import NothingToExplain
from models.explain.version import find_version, opened_version
from server.errors import ArtifactCorrupt, ModelNotFound, VersionNotFound
from server.store.aliases import move_alias
from tests.support.artifacts import write_signed
from tests.support.graphs import doubling_graph, write_version


@pytest.fixture
def versions(tmp_path):
    for name in ("1", "2", "10", "007", "draft"):
        (tmp_path / "digits" / name).mkdir(parents=True)
    move_alias(tmp_path / "digits", "stable", 2)
    return tmp_path


def test_version_is_the_highest_the_one_named_or_the_alias(versions):
    assert find_version(versions, "digits") == 10
    assert find_version(versions, "digits", version=1) == 1
    assert find_version(versions, "digits", alias="stable") == 2


@pytest.mark.parametrize(
    ("model", "asked", "error", "message"),
    [
        ("nobody", {}, ModelNotFound, "holds no model nobody"),
        ("../digits", {}, ModelNotFound, "holds no model"),
        ("digits", {"version": 3}, VersionNotFound, "no version 3; it has 1, 2, 10"),
        ("digits", {"alias": "canary"}, VersionNotFound, "no alias canary; it has stable"),
    ],
)
def test_what_does_not_exist_is_named_with_what_does(versions, model, asked, error, message):
    with pytest.raises(error, match=message):
        find_version(versions, model, **asked)


def test_model_without_a_version_says_so(tmp_path):
    (tmp_path / "digits").mkdir()
    with pytest.raises(VersionNotFound, match="no version in"):
        find_version(tmp_path, "digits")


def test_alias_of_a_version_that_is_gone_is_refused(versions):
    shutil.rmtree(versions / "digits" / "2")
    with pytest.raises(VersionNotFound, match="no version 2"):
        find_version(versions, "digits", alias="stable")


def test_model_without_attention_outputs_is_refused(tmp_path):
    write_version(tmp_path, "doubling", 1, doubling_graph())
    with (
        pytest.raises(NothingToExplain, match="doubling version 1 has no attention outputs"),
        opened_version(tmp_path, "doubling"),
    ):
        pass


def test_files_are_held_against_their_digests(tmp_path):
    (write_signed(tmp_path) / "model.onnx").write_bytes(b"other")
    with pytest.raises(ArtifactCorrupt), opened_version(tmp_path, "linear"):
        pass


def test_session_is_closed_at_the_end(store):
    with opened_version(store, "digits", alias="stable") as version:
        assert version.manifest.attention
    with pytest.raises(Exception, match="closed"):
        version.run({})
