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


class Texts:
    """Answers what ends in `*` by its letters, one by one, each once it is let go; all else in capitals."""

    def __init__(self) -> None:
        self.gates: dict[bytes, asyncio.Event] = {}
        self.closed: list[bytes] = []

    def let_go(self, *letters: bytes) -> None:
        for letter in letters:
            self.gates.setdefault(letter, asyncio.Event()).set()

    def __call__(self, request: bytes):
        return self.letters(request[:-1]) if request.endswith(b"*") else self.capitals(request)

    async def capitals(self, request: bytes) -> bytes:
        await self.gates.setdefault(request, asyncio.Event()).wait()
        return request.upper()

    async def letters(self, word: bytes) -> AsyncIterator[bytes]:
        try:
            for letter in (bytes([number]) for number in word):
                await self.gates.setdefault(letter, asyncio.Event()).wait()
                if letter == b"!":
                    raise QueueFull("no room")
                yield letter
        finally:
            self.closed.append(word)


async def test_replies_of_one_request_keep_their_order_and_wait_for_no_other_request():
    caller, texts = Caller(b"slow", b"ab*", b"cd*", None), Texts()
    serving = asyncio.ensure_future(RequestStream(caller.sent(), caller.write, texts, 8).serve())
    for letter in (b"a", b"c", b"d", b"b"):
        texts.let_go(letter)
        await settle()
    assert caller.received == [b"a", b"c", b"d", b"b"]
    assert not serving.done()
    texts.let_go(b"slow")
    await serving
    assert caller.received[-1] == b"SLOW"


async def test_a_request_with_many_replies_holds_up_no_later_one():
    caller, texts = Caller(b"ab*", b"quick", None), Texts()
    serving = asyncio.ensure_future(RequestStream(caller.sent(), caller.write, texts, 8).serve())
    texts.let_go(b"quick")
    await settle()
    assert caller.received == [b"QUICK"]
    texts.let_go(b"a", b"b")
    await serving
    assert caller.received == [b"QUICK", b"a", b"b"]


async def test_many_replies_count_as_one_request_until_the_last():
    caller, texts = Caller(b"ab*", b"next", None), Texts()
    serving = asyncio.ensure_future(RequestStream(caller.sent(), caller.write, texts, 1).serve())
    texts.let_go(b"a", b"next")
    await settle()
    assert (caller.read, caller.received) == (1, [b"a"])
    texts.let_go(b"b")
    await serving
    assert caller.received == [b"a", b"b", b"NEXT"]


async def test_writes_do_not_overlap():
    caller, texts, writing = Caller(b"ab*", b"cd*", b"e", None), Texts(), []

    async def write(reply: bytes) -> None:
        writing.append(reply)
        assert len(writing) == 1
        await asyncio.sleep(0)
        writing.clear()
        await caller.write(reply)

    texts.let_go(b"a", b"b", b"c", b"d", b"e")
    await RequestStream(caller.sent(), write, texts, 8).serve()
    assert sorted(caller.received) == [b"E", b"a", b"b", b"c", b"d"]


async def test_a_failure_among_many_replies_ends_the_stream_whatever_it_waits_for():
    caller, texts = Caller(b"slow", b"a!*", b"b*"), Texts()
    serving = asyncio.ensure_future(RequestStream(caller.sent(), caller.write, texts, 8).serve())
    texts.let_go(b"a")
    await settle()
    texts.let_go(b"!")
    with pytest.raises(QueueFull):
        await serving
    assert (caller.received, sorted(texts.closed)) == ([b"a"], [b"a!", b"b"])


async def test_a_cancelled_stream_closes_what_has_more_replies():
    caller, texts = Caller(b"ab*", b"c*"), Texts()
    serving = asyncio.ensure_future(RequestStream(caller.sent(), caller.write, texts, 8).serve())
    texts.let_go(b"a")
    await settle()
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert sorted(texts.closed) == [b"ab", b"c"]


async def test_an_end_lets_many_replies_finish():
    caller, texts = Caller(b"ab*"), Texts()
    stream = RequestStream(caller.sent(), caller.write, texts, 8)
    serving = asyncio.ensure_future(stream.serve())
    texts.let_go(b"a")
    await settle()
    stream.end()
    await settle()
    assert not serving.done()
    texts.let_go(b"b")
    with pytest.raises(ServerDraining):
        await serving
    assert caller.received == [b"a", b"b"]
