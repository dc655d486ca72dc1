"""What wraps every handler: parse, identify, bound in time, count, and turn errors into statuses.

A handler gets a parsed message and its `Call`, returns a message or raises; nothing else of gRPC reaches it. Bytes
come in unparsed, so that an undecodable message is our INVALID_ARGUMENT and not the library's INTERNAL.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import grpc
from google.protobuf.message import Message

from server.clock import Clock
from server.errors import (
    DeadlineExpired,
    NotImplementedHere,
    RequestCancelled,
    ServeError,
    ServerDraining,
)
from server.rpc.incoming import REQUEST_ID_HEADER, Request, header, header_id, parse
from server.rpc.status import UNEXPECTED, RichStatus, rich_status
from server.rpc.streams import RequestStream
from server.telemetry.logs import set_request_id

OK = "OK"

Context = grpc.aio.ServicerContext[bytes, bytes]


class CallObserver(Protocol):
    """Told when a call ends; of a stream of requests, when each of its requests ends."""

    def request_finished(
        self, service: str, method: str, model: str, version: int, reason: str, request_s: float
    ) -> None:
        """`model` is empty and `version` 0 where none was found; `reason` is OK or an ErrorInfo reason."""
        ...


class Draining(Protocol):
    """Knows whether the server has begun to stop."""

    @property
    def draining(self) -> bool:
        """Whether new work is refused."""
        ...


@dataclass(slots=True)
class Call:
    """What a handler knows of its call beyond the message."""

    request_id: str
    """The caller's id, or a generated one."""
    started_at: float
    """Monotonic seconds."""
    deadline: float | None
    """Monotonic seconds; None: the caller set none."""
    model: str = ""
    version: int = 0

    def served_by(self, name: str, version: int) -> None:
        """Notes which version answers, for the metrics."""
        self.model, self.version = name, version


Handler = Callable[[Any, Call], Awaitable[Message]]
StreamHandler = Callable[[Any, Call], AsyncIterator[Message]]
Refusal = Callable[[Any, RichStatus], Message]
"""Makes the reply to one request of a stream that was refused; the request is None where its bytes were unusable."""


class _StreamEnded(Exception):
    """A request's failure ends its whole stream, because the caller has asked for that."""

    def __init__(self, status: RichStatus) -> None:
        super().__init__(status.details)
        self.status = status


class Calls:
    """Wraps handlers; knows how many calls are in flight.

    A method marked `while_draining` answers until the very end: it is neither refused by a drain nor waited for.
    """

    def __init__(self, lifecycle: Draining, observer: CallObserver, clock: Clock) -> None:
        self._lifecycle = lifecycle
        self._observer = observer
        self._clock = clock
        self._in_flight = 0
        self._streams: set[RequestStream] = set()
        self._unsent: set[asyncio.Task[Any]] = set()
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def in_flight(self) -> int:
        """Calls that have begun and not ended; of a stream, its requests that have no answer yet."""
        return self._in_flight

    async def wait_idle(self) -> None:
        """Returns once no call is in flight and no stream of requests is open."""
        await self._idle.wait()

    async def flush(self, patience_s: float) -> None:
        """Returns once the replies of all calls so far are sent, or after `patience_s` seconds."""
        if self._unsent:
            await asyncio.wait(self._unsent, timeout=patience_s)

    def end_streams(self) -> None:
        """Lets open streams of requests end once what they have read is answered."""
        for stream in self._streams:
            stream.end()

    def unary(
        self, service: str, method: str, request_type: type[Request], handler: Handler, *, while_draining: bool = False
    ) -> "grpc.RpcMethodHandler[bytes, bytes]":
        """A method of one request and one reply."""

        async def run(content: bytes, context: Context) -> bytes:
            async with self._answering(service, method, context, while_draining) as call:
                return (await handler(_parse(request_type, content, call), call)).SerializeToString()

        return grpc.unary_unary_rpc_method_handler(run)

    def server_stream(
        self,
        service: str,
        method: str,
        request_type: type[Request],
        handler: StreamHandler,
        *,
        while_draining: bool = False,
    ) -> "grpc.RpcMethodHandler[bytes, bytes]":
        """A method of one request and a stream of replies."""

        async def run(content: bytes, context: Context) -> None:
            async with self._answering(service, method, context, while_draining) as call:
                async for reply in handler(_parse(request_type, content, call), call):
                    await context.write(reply.SerializeToString())

        return grpc.unary_stream_rpc_method_handler(run)

    def request_stream(
        self,
        service: str,
        method: str,
        request_type: type[Request],
        handler: Handler,
        refusal: Refusal,
        *,
        max_requests: int,
        strict_header: str,
    ) -> "grpc.RpcMethodHandler[bytes, bytes]":
        """A method of a stream of requests, each counted and answered as a call of its own, in their order.

        A request that fails is answered by what `refusal` makes of it, and the stream goes on; where the caller has
        set `strict_header` to `true`, the stream ends with the status instead. At most `max_requests` are in flight.
        """

        async def run(requests: AsyncIterator[bytes], context: Context) -> None:
            opened = self._open(context)
            strict = header(context.invocation_metadata(), strict_header).lower() == "true"

            async def answer(content: bytes) -> bytes:
                call = Call(opened.request_id, self._clock.now(), opened.deadline)
                request = None
                try:
                    with self._counted(service, method, call):
                        request = _parse(request_type, content, call)
                        return (await handler(request, call)).SerializeToString()
                except Exception as error:  # the boundary: one request's failure is not its neighbours'
                    status = rich_status(error, call.request_id)
                    if strict:
                        raise _StreamEnded(status) from error
                    return refusal(request, status).SerializeToString()

            async with self._stating(context, opened):
                if self._lifecycle.draining:
                    # Python's asyncio clients report a stream that ends before their first message as INTERNAL.
                    await anext(requests, None)
                    with self._counted(service, method, opened):
                        raise _draining()
                with self._streaming(RequestStream(requests, context.write, answer, max_requests)) as stream:
                    await stream.serve()

        return grpc.stream_stream_rpc_method_handler(run)

    def unimplemented(self, service: str, method: str, why: str) -> "grpc.RpcMethodHandler[bytes, bytes]":
        """A method of the protocol that is answered with NOT_IMPLEMENTED, whatever it is sent."""

        async def refuse(_: bytes, context: Context) -> bytes:
            async with self._answering(service, method, context, while_draining=True):
                raise NotImplementedHere(f"{method} is not offered by this server: {why}")

        return grpc.unary_unary_rpc_method_handler(refuse)

    @asynccontextmanager
    async def _answering(
        self, service: str, method: str, context: Context, while_draining: bool
    ) -> AsyncIterator[Call]:
        """Counts a call in and out; what is raised inside becomes the call's status."""
        call = self._open(context)
        async with self._stating(context, call):
            with self._counted(service, method, call, while_draining=while_draining):
                if self._lifecycle.draining and not while_draining:
                    raise _draining()
                yield call

    def _open(self, context: Context) -> Call:
        """The call before its first message is read."""
        now, remaining = self._clock.now(), context.time_remaining()
        request_id = header_id(context.invocation_metadata()) or uuid.uuid4().hex
        call = Call(request_id, now, None if remaining is None else now + remaining)
        # Each call is a task of its own, so its id in the logs' context needs no taking back.
        set_request_id(call.request_id)
        task = asyncio.current_task()
        if task:
            # It ends when the library has sent what the handler returned.
            self._unsent.add(task)
            task.add_done_callback(self._unsent.discard)
        return call

    @asynccontextmanager
    async def _stating(self, context: Context, call: Call) -> AsyncIterator[None]:
        """What is raised inside becomes the status; the trailers name the request."""
        try:
            yield
            context.set_trailing_metadata(((REQUEST_ID_HEADER, call.request_id),))
        except Exception as error:  # the boundary: whatever it was, the caller gets a status and the log the cause
            status = error.status if isinstance(error, _StreamEnded) else rich_status(error, call.request_id)
            await context.abort(status.code, status.details, status.trailing_metadata)

    @contextmanager
    def _counted(self, service: str, method: str, call: Call, *, while_draining: bool = False) -> Iterator[None]:
        """Counts a call, or a request of a stream, in and out."""
        reason = OK
        self._count(0 if while_draining else 1)
        try:
            yield
        except asyncio.CancelledError:
            # The caller has gone, or its deadline has passed: gRPC cancels the handler for both.
            expired = call.deadline is not None and self._clock.now() >= call.deadline
            reason = DeadlineExpired.reason if expired else RequestCancelled.reason
            raise
        except Exception as error:
            reason = error.reason if isinstance(error, ServeError) else UNEXPECTED
            raise
        finally:
            self._count(0 if while_draining else -1)
            request_s = self._clock.now() - call.started_at
            self._observer.request_finished(service, method, call.model, call.version, reason, request_s)

    @contextmanager
    def _streaming(self, stream: RequestStream) -> Iterator[RequestStream]:
        """Keeps a stream among those that a drain ends and waits for."""
        self._streams.add(stream)
        self._count(0)
        try:
            yield stream
        finally:
            self._streams.discard(stream)
            self._count(0)

    def _count(self, change: int) -> None:
        self._in_flight += change
        if self._in_flight or self._streams:
            self._idle.clear()
        else:
            self._idle.set()


def _parse(request_type: type[Request], content: bytes, call: Call) -> Request:
    """The message; the id that it carries, if any, becomes the call's. Raises what `parse` raises."""
    request, own_id = parse(request_type, content)
    if own_id:
        call.request_id = own_id
        set_request_id(own_id)
    return request


def _draining() -> ServerDraining:
    return ServerDraining("the server is about to stop and takes no new calls")
