import pytest

from models.explain.content import read_content
from models.explain.version import opened_version
from tests.support.bundles import publish_tiny, tiny_candidate
from tests.unit.models.explain.made_up import TEXT


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    """Both tiny models, published; shared: do not write into it."""
    folder = tmp_path_factory.mktemp("explained")
    for model in ("areas", "digits"):
        publish_tiny(folder, model, alias="stable")
    return folder


@pytest.fixture(scope="session")
def image():
    """An image that the tiny `digits` was verified with."""
    return tiny_candidate("digits").parent / "checkpoint" / "samples" / "0.png"


@pytest.fixture(params=["areas", "digits"])
def opened(request, store, image):
    """A version, and content that it takes."""
    with opened_version(store, request.param) as version:
        yield version, read_content(TEXT if request.param == "areas" else str(image), version.codec)
