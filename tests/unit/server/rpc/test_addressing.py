import pytest

from server.errors import ModelNotFound, VersionNotFound
from server.rpc.addressing import find, shown


class Resolver:
    """Stands for the registry; returns what it was asked."""

    def resolve(self, name, version=None, alias=None):
        return name, version, alias


@pytest.mark.parametrize(
    ("version", "asked"),
    [
        ("", (None, None)),
        ("1", (1, None)),
        ("007", (7, None)),
        ("stable", (None, "stable")),
        ("9" * 18, (10**18 - 1, None)),
    ],
)
def test_a_version_is_nothing_a_number_or_an_alias(version, asked):
    assert find(Resolver(), "areas", version) == ("areas", *asked)


@pytest.mark.parametrize("version", ["0", "-1", "1.0", " 1", "²", "9" * 19, "../1", "a b", "stable\n", "x" * 65])
def test_a_version_that_is_neither_is_not_found(version):
    with pytest.raises(VersionNotFound):
        find(Resolver(), "areas", version)


@pytest.mark.parametrize("name", ["", ".", "..", "../areas", "a/b", "a\\b", "areas\n", "a\0b", ".hidden", "x" * 129])
def test_a_name_that_no_model_can_have_goes_no_further(name):
    with pytest.raises(ModelNotFound):
        find(Resolver(), name, "")


def test_a_long_text_is_shown_short():
    assert len(shown("x" * 1000)) == 66
