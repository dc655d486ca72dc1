"""One stream of requests, each answered by one reply, the replies in the order of the requests.

Nothing is read while `max_requests` have no reply on its way yet, so that a caller who sends faster than the models
answer, or who does not read, is held back by the transport's own flow control.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

from server.errors import ServerDraining

Write = Callable[[bytes], Awaitable[None]]
Answer = Callable[[bytes], Coroutine[Any, Any, bytes]]


class RequestStream:
    """Reads, answers and writes until the caller has sent its last request, or until `end`.

    `answer` makes a reply's bytes from a request's, in a task of its own.
    """

    def __init__(self, requests: AsyncIterator[bytes], write: Write, answer: Answer, max_requests: int) -> None:
        self._requests = requests
        self._write = write
        self._answer = answer
        self._room = asyncio.Semaphore(max_requests)
        self._unwritten: deque[asyncio.Task[bytes]] = deque()
        self._changed = asyncio.Event()
        self._complete = False
        """The caller has sent its last request, and it has been read."""
        self._ending = False

    async def serve(self) -> None:
        """Returns once every request is answered.

        Raises ServerDraining where `end` came first, and what `answer` raises, which ends the stream; the requests
        that are unanswered then, or when the stream is cancelled, are cancelled.
        """
        reading = asyncio.ensure_future(self._read_on())
        try:
            while self._unwritten or not (reading.done() or self._ending):
                if not self._unwritten:
                    self._changed.clear()
                    await self._changed.wait()
                    continue
                await self._write(await self._unwritten[0])
                self._unwritten.popleft()
                self._room.release()
            if reading.done():
                await reading
            if not self._complete:
                raise ServerDraining("the server is about to stop; requests that have no answer were left unread")
        finally:
            left = (reading, *self._unwritten)
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)

    def end(self) -> None:
        """Reads no further: what has been read is answered, then the stream ends."""
        self._ending = True
        self._changed.set()

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
                self._unwritten.append(asyncio.ensure_future(self._answer(content)))
                self._changed.set()
        finally:
            self._changed.set()
