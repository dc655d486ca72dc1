import shutil

import pytest

from benchmarks.load.build import ClientUnbuildable, build_client


def test_machine_without_a_compiler_is_told_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)

    with pytest.raises(ClientUnbuildable, match=r"apt-get install g\+\+ libnghttp2-dev"):
        build_client(tmp_path)
