"""One stream of requests, with plain asyncio in place of a channel."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from server.errors import QueueFull, ServerDraining
from server.rpc.streams import RequestStream


class Caller:
    """Sends what `requests` holds; None ends the stream, an exception breaks it."""

    def __init__(self, *requests: bytes | Exception | None) -> None:
        self.requests: asyncio.Queue[bytes | Exception | None] = asyncio.Queue()
        for request in requests:
            self.requests.put_nowait(request)
        self.read = 0
        self.received: list[bytes] = []

    async def sent(self) -> AsyncIterator[bytes]:
        while (request := await self.requests.get()) is not None:
            if isinstance(request, Exception):
                raise request
            self.read += 1
            yield request

    async def write(self, reply: bytes) -> None:
        self.received.append(reply)


class Answers:
    """Answers in capitals, each request once it is let go."""

    def __init__(self, *open: bytes) -> None:
        self.gates: dict[bytes, asyncio.Event] = {}
        self.begun: list[bytes] = []
        self.cancelled: list[bytes] = []
        for request in open:
            self.let_go(request)

    def let_go(self, *requests: bytes) -> None:
        for request in requests:
            self.gates.setdefault(request, asyncio.Event()).set()

    async def __call__(self, request: bytes) -> bytes:
        self.begun.append(request)
        try:
            await self.gates.setdefault(request, asyncio.Event()).wait()
        except asyncio.CancelledError:
            self.cancelled.append(request)
            raise
        if request == b"bad":
            raise QueueFull("no room")
        return request.upper()


async def settle() -> None:
    """Lets every task go on as far as it can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_replies_keep_the_order_of_the_requests():
    caller, answers = Caller(b"a", b"b", None), Answers(b"b")
    serving = asyncio.ensure_future(RequestStream(caller.sent(), caller.write, answers, 8).serve())
    await settle()
    assert (answers.begun, caller.received) == ([b"a", b"b"], [])
    answers.let_go(b"a")
    await serving
    assert caller.received == [b"A", b"B"]


async def test_a_stream_without_requests_returns():
    caller = Caller(None)
    await RequestStream(caller.sent(), caller.write, Answers(), 1).serve()
    assert caller.received == []


async def test_no_more_than_the_bound_is_read_until_a_reply_is_written():
    caller, answers = Caller(b"a", b"b", b"c", None), Answers()
    serving = asyncio.ensure_future(RequestStream(caller.sent(), caller.write, answers, 2).serve())
    await settle()
    assert caller.read == 2
    answers.let_go(b"b")
    await settle()
    assert caller.read == 2, "b is answered, but its reply must wait for that to a"
    answers.let_go(b"a")
    await settle()
    assert (caller.read, caller.received) == (3, [b"A", b"B"])
    answers.let_go(b"c")
    await serving
    assert caller.received == [b"A", b"B", b"C"]


async def test_an_end_answers_what_was_read_and_reads_no_more():
    caller, answers = Caller(b"a"), Answers()
    stream = RequestStream(caller.sent(), caller.write, answers, 8)
    serving = asyncio.ensure_future(stream.serve())
    await settle()
    stream.end()
    caller.requests.put_nowait(b"late")
    await settle()
    assert not serving.done()
    answers.let_go(b"a")
    with pytest.raises(ServerDraining):
        await serving
    assert (answers.begun, caller.received) == ([b"a"], [b"A"])


async def test_an_end_after_the_last_request_changes_nothing():
    caller, answers = Caller(b"a", None), Answers()
    stream = RequestStream(caller.sent(), caller.write, answers, 8)
    serving = asyncio.ensure_future(stream.serve())
    await settle()
    stream.end()
    answers.let_go(b"a")
    await serving
    assert caller.received == [b"A"]


async def test_a_cancelled_stream_cancels_what_is_unanswered():
    caller, answers = Caller(b"a", b"b", b"c"), Answers(b"b")
    serving = asyncio.ensure_future(RequestStream(caller.sent(), caller.write, answers, 8).serve())
    await settle()
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert answers.cancelled == [b"a", b"c"]


async def test_an_answer_that_raises_ends_the_stream_in_its_turn():
    caller, answers = Caller(b"a", b"bad", b"c"), Answers(b"bad")
    serving = asyncio.ensure_future(RequestStream(caller.sent(), caller.write, answers, 8).serve())
    await settle()
    assert not serving.done()
    answers.let_go(b"a")
    with pytest.raises(QueueFull):
        await serving
    assert (caller.received, answers.cancelled) == ([b"A"], [b"c"])


async def test_a_stream_that_breaks_raises_what_reading_raised():
    caller = Caller(b"a", OSError("broken"))
    with pytest.raises(OSError, match="broken"):
        await RequestStream(caller.sent(), caller.write, Answers(b"a"), 8).serve()
    assert caller.received == [b"A"]
