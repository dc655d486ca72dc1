import shutil

import pytest

from tests.support.hugging_face import export_folder


@pytest.fixture
def marian(tmp_path):
    """A real export of MarianMT, to do with as the test likes."""
    return shutil.copytree(export_folder("marian"), tmp_path / "marian")


@pytest.fixture
def t5(tmp_path):
    """A real export of T5, to do with as the test likes."""
    return shutil.copytree(export_folder("t5"), tmp_path / "t5")
