import shutil

import pytest

from models.export.trained import load_trained
from tests.support.bundles import tiny_candidate


@pytest.fixture(params=["areas", "digits"])
def model(request):
    return request.param


@pytest.fixture
def candidate(model, tmp_path):
    """A verified candidate of a tiny model, to do with as the test likes."""
    return shutil.copytree(tiny_candidate(model), tmp_path / "bundle")


@pytest.fixture
def trained(model):
    """The training that `candidate` came from."""
    return load_trained(tiny_candidate(model).parent / "checkpoint")
