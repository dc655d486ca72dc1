import asyncio

import pytest

from server.errors import QueueFull, SignatureMismatch
from server.rpc.call import Call, ended_by

CANCELLED = asyncio.CancelledError()


@pytest.mark.parametrize(
    ("error", "deadline", "reason"),
    [
        (None, None, "OK"),
        (None, 1.0, "OK"),
        (QueueFull("no room"), None, "QUEUE_FULL"),
        (SignatureMismatch("no such input"), 1.0, "SIGNATURE_MISMATCH"),
        (KeyError("ours"), None, "UNEXPECTED"),
        (CANCELLED, None, "CANCELLED"),
        (CANCELLED, 10.5, "CANCELLED"),
        (CANCELLED, 10.0, "DEADLINE_EXPIRED"),
        (CANCELLED, 9.5, "DEADLINE_EXPIRED"),
    ],
)
def test_a_call_is_counted_by_how_it_ended(error, deadline, reason):
    assert ended_by(error, Call("id", started_at=9.0, deadline=deadline), now=10.0) == reason
