"""The server packs as verification packed: two writings of the contract in `server.packed`, held against each other."""

import asyncio

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.export.packing import Padding, pack_rows, packed_tokens
from server.batching.lattice import Lattice
from server.batching.pack import BlockDiagonal, Gathered
from tests.support.requests import IDS, MASK, SUM, make_request

INPUTS = (IDS, MASK)
LAYOUTS = {"block-diagonal": BlockDiagonal, "gathered": Gathered}
REQUESTS = st.lists(
    st.integers(1, 9).flatmap(
        lambda length: st.lists(st.lists(st.booleans(), min_size=length, max_size=length), min_size=1, max_size=3)
    ),
    min_size=1,
    max_size=5,
)
LATTICES = {"exact": Lattice.exact(), "graded": Lattice.graded(64, step=4)}


def made(masks, loop):
    """A request for each list of equally long masks, with ids that differ from request to request."""
    return [
        make_request(len(rows[0]), len(rows), first=100 * number, mask=np.array(rows), loop=loop)
        for number, rows in enumerate(masks)
    ]


def single_rows(requests):
    return [
        {name: array[index : index + 1] for name, array in request.inputs.items()}
        for request in requests
        for index in range(request.rows)
    ]


@pytest.mark.parametrize("lattice", LATTICES.values(), ids=LATTICES.keys())
@pytest.mark.parametrize("layout", LAYOUTS)
@given(masks=REQUESTS)
def test_server_packs_as_verification_does(layout, lattice, masks):
    loop = asyncio.new_event_loop()
    try:
        requests = made(masks, loop)
    finally:
        loop.close()
    rows = single_rows(requests)
    tokens, longest = packed_tokens(rows, INPUTS), max(packed_tokens([row], INPUTS) for row in rows)
    padding = Padding(
        tokens=lattice.up(max(1, tokens)) - tokens,
        rows=lattice.up(len(rows)) - len(rows),
        places=lattice.up(max(1, longest)) - max(1, longest),
    )
    collated = LAYOUTS[layout](INPUTS, (SUM,), lattice, lattice).collate(requests)
    expected = pack_rows(rows, INPUTS, layout, padding)
    assert collated.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(collated[name], array, err_msg=name)
        assert collated[name].dtype == array.dtype
