"""Desks for tests of the lane: closed when the test ends."""

from contextlib import ExitStack

import pytest

from tests.support.adder import Adder
from tests.support.writing import Desk


@pytest.fixture
def open_desk(tmp_path):
    """Makes a desk: of an `Adder` with these fields, or of the one that is given."""
    with ExitStack() as stack:

        def make(adder=None, *, kind="sums", encodes=True, max_new=1, **more):
            return stack.enter_context(Desk(tmp_path, adder or Adder(kind, encodes, max_new), **more))

        yield make
