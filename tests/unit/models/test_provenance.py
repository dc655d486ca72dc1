import platform
import subprocess

from models.provenance import fingerprint, git_revision, library_versions


def test_the_fingerprint_depends_on_order_and_boundaries():
    assert fingerprint(["ab", "c"]) == fingerprint([b"ab", b"c"])
    assert len({fingerprint(parts) for parts in (["ab", "c"], ["a", "bc"], ["c", "ab"], ["abc"])}) == 4


def test_versions_name_python_and_leave_out_what_is_absent():
    versions = library_versions(["numpy", "no-such-library"])
    assert versions["python"] == platform.python_version()
    assert set(versions) == {"python", "numpy"}


def test_outside_git_there_is_no_revision(tmp_path):
    assert git_revision(tmp_path) is None


def test_a_changed_tree_is_dirty(tmp_path):
    def git(*arguments):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", *identity, "-C", str(tmp_path), *arguments], check=True, capture_output=True)

    git("init")
    (tmp_path / "file").write_text("one")
    git("add", "file")
    git("commit", "-m", "one")
    clean = git_revision(tmp_path)
    (tmp_path / "file").write_text("two")
    assert len(clean) == 40
    assert git_revision(tmp_path) == f"{clean}-dirty"
