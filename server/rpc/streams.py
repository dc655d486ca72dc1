"""One stream of requests: most are answered by one reply, in the order of the requests; some by many, as they come.

Nothing is read while `max_requests` have no reply on its way yet, so that a caller who sends faster than the models
answer, or who does not read, is held back by the transport's own flow control.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import aclosing
from typing import Any

from server.errors import ServerDraining

Write = Callable[[bytes], Awaitable[None]]
Replies = AsyncGenerator[bytes, None]
Answer = Callable[[bytes], Coroutine[Any, Any, bytes] | Replies]


class RequestStream:
    """Reads, answers and writes until the caller has sent its last request, or until `end`.

    `answer` makes of a request's bytes either a coroutine, whose reply waits for those to earlier requests, or a
    generator, whose replies keep their own order and wait for nobody else's; each runs in a task of its own.
    """

    def __init__(self, requests: AsyncIterator[bytes], write: Write, answer: Answer, max_requests: int) -> None:
        self._requests = requests
        self._write = write
        self._answer = answer
        self._room = asyncio.Semaphore(max_requests)
        self._unwritten: deque[asyncio.Task[bytes]] = deque()
        self._out_of_turn: set[asyncio.Task[None]] = set()
        self._writing = asyncio.Lock()
        """The library takes one message of a call at a time."""
        self._changed = asyncio.Event()
        self._complete = False
        """The caller has sent its last request, and it has been read."""
        self._ending = False
        self._failed: asyncio.Future[None] | None = None
        """Set by replies out of turn that raised, which ends the stream whatever it waits for."""

    async def serve(self) -> None:
        """Returns once every request is answered.

        Raises ServerDraining where `end` came first, and what `answer` raises, which ends the stream; the requests
        that are unanswered then, or when the stream is cancelled, are cancelled.
        """
        self._failed = asyncio.get_running_loop().create_future()
        reading = asyncio.ensure_future(self._read_on())
        serving = asyncio.ensure_future(self._serve(reading))
        try:
            await asyncio.wait({serving, self._failed}, return_when=asyncio.FIRST_COMPLETED)
            await (self._failed if self._failed.done() else serving)
        finally:
            left = (serving, reading, *self._unwritten, *self._out_of_turn)
            for task in left:
                task.cancel()
            self._failed.cancel()
            await asyncio.gather(*left, return_exceptions=True)

    def end(self) -> None:
        """Reads no further: what has been read is answered, then the stream ends."""
        self._ending = True
        self._changed.set()

    async def _serve(self, reading: "asyncio.Task[None]") -> None:
        while self._unwritten or self._out_of_turn or not (reading.done() or self._ending):
            if not self._unwritten:
                self._changed.clear()
                await self._changed.wait()
                continue
            reply = await self._unwritten[0]
            async with self._writing:
                await self._write(reply)
            self._unwritten.popleft()
            self._room.release()
        if reading.done():
            await reading
        if not self._complete:
            raise ServerDraining("the server is about to stop; requests that have no answer were left unread")

    async def _read_on(self) -> None:
        try:
            while True:
                await self._room.acquire()
                content = await anext(self._requests, None)
                if content is None:
                    self._complete = True
                    return
                if self._ending:
                    return
                answer = self._answer(content)
                if isinstance(answer, AsyncGenerator):
                    task = asyncio.ensure_future(self._write_each(answer))
                    self._out_of_turn.add(task)
                    task.add_done_callback(self._written)
                else:
                    self._unwritten.append(asyncio.ensure_future(answer))
                self._changed.set()
        finally:
            self._changed.set()

    async def _write_each(self, replies: Replies) -> None:
        async with aclosing(replies):
            async for reply in replies:
                async with self._writing:
                    await self._write(reply)

    def _written(self, task: "asyncio.Task[None]") -> None:
        self._out_of_turn.discard(task)
        self._room.release()
        error = None if task.cancelled() else task.exception()
        if error is not None and self._failed is not None and not self._failed.done():
            self._failed.set_exception(error)
        self._changed.set()
