"""One generation as its caller holds it."""

import asyncio
from collections.abc import AsyncIterator

from server.errors import RequestCancelled, ServeError
from server.generation.lane import GenerationLane
from server.generation.request import GenerationRequest
from server.generation.result import Generated, Increment


class Generation:
    """A text that is being written; used on the event loop's thread."""

    def __init__(self, lane: GenerationLane, request: GenerationRequest, timer: asyncio.TimerHandle | None) -> None:
        self._lane = lane
        self._request = request
        if timer is not None:
            request.reply.add_done_callback(lambda _: timer.cancel())

    async def __aiter__(self) -> AsyncIterator[Increment]:
        """The increments of a streamed generation; ends after the one with `finish`.

        Raises ValueError for one that is not streamed, and the ServeError that ended it.
        """
        reader = self._request.reader
        if reader is None:
            raise ValueError("this generation is not streamed")
        try:
            while (increment := await reader.get()) is not None:
                yield increment
        finally:
            self.cancel()

    async def result(self) -> Generated:
        """The whole, once it is there. Raises the ServeError that ended it; a cancelled caller cancels it."""
        try:
            return await asyncio.shield(self._request.reply)
        except asyncio.CancelledError:
            self.cancel()
            raise

    def cancel(self, error: ServeError | None = None) -> None:
        """Gives it up: its rows are free before the next step; harmless twice, and after the end."""
        self._lane.withdraw(self._request, error or RequestCancelled("the caller has gone"))
