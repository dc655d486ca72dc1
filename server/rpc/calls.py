"""What wraps every handler: parse, identify, bound in time, count, and turn errors into statuses.

A handler gets a parsed message and its `Call`, returns a message or raises; nothing else of gRPC reaches it. Bytes
come in unparsed, so that an undecodable message is our INVALID_ARGUMENT and not the library's INTERNAL.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import aclosing, contextmanager
from typing import Any, NamedTuple, NoReturn, Protocol

import grpc
from google.protobuf.message import Message

from server.clock import Clock
from server.errors import NotImplementedHere, ServerDraining
from server.rpc.call import Call, CallObserver, Kind, ended_by
from server.rpc.incoming import REQUEST_ID_HEADER, Asked, Request, RequestIds, header, header_id, parse
from server.rpc.status import RichStatus, rich_status
from server.rpc.streams import RequestStream
from server.rpc.unsent import Unsent
from server.telemetry.logs import set_request_id

Context = grpc.aio.ServicerContext[bytes, bytes]


class Draining(Protocol):
    """Knows whether the server has begun to stop."""

    @property
    def draining(self) -> bool:
        """Whether new work is refused."""
        ...


Handler = Callable[[Any, Call], Awaitable[Message]]
StreamHandler = Callable[[Any, Call], AsyncGenerator[Message, None]]
"""Closed as soon as its call ends, also where it waits for nothing."""
Refusal = Callable[[Any, RichStatus], Message]
"""Makes the reply to one request of a stream that was refused; the request is None where its bytes were unusable."""


class Many(NamedTuple):
    """What answers a request of a stream by many replies."""

    takes: Callable[[Any], bool]
    """Whether a request is answered so; must not raise."""
    handler: StreamHandler


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
        self._unsent = Unsent()
        self._ids = RequestIds()
        self._idle = asyncio.Event()
        """Cleared by whoever begins to wait for it: setting what is set costs a call nothing."""

    @property
    def in_flight(self) -> int:
        """Calls that have begun and not ended; of a stream, its requests that have no answer yet."""
        return self._in_flight

    async def wait_idle(self) -> None:
        """Returns once no call is in flight and no stream of requests is open."""
        if self._in_flight or self._streams:
            self._idle.clear()
            await self._idle.wait()

    async def flush(self, patience_s: float) -> None:
        """Returns once the replies of all calls so far are sent, or after `patience_s` seconds."""
        unsent = self._unsent.tasks()
        if unsent:
            await asyncio.wait(unsent, timeout=patience_s)

    def end_streams(self) -> None:
        """Lets open streams of requests end once what they have read is answered."""
        for stream in self._streams:
            stream.end()

    def unary(
        self, service: str, method: str, request_type: type[Request], handler: Handler, *, while_draining: bool = False
    ) -> "grpc.RpcMethodHandler[bytes, bytes]":
        """A method of one request and one reply."""
        kind = Kind(service, method, while_draining)

        async def run(content: bytes, context: Context) -> bytes:
            call = self._open(context)
            self._begin(kind)
            try:
                self._check_open(kind)
                reply = (await handler(_parse(request_type, content, call), call)).SerializeToString()
            except BaseException as error:  # the boundary: the caller gets a status and the log the cause
                self._end(kind, call, error)
                await _abort(context, call, error)
            self._end(kind, call)
            _name_call(context, call)
            return reply

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
        kind = Kind(service, method, while_draining)

        async def run(content: bytes, context: Context) -> None:
            call = self._open(context)
            self._begin(kind)
            try:
                self._check_open(kind)
                async with aclosing(handler(_parse(request_type, content, call), call)) as replies:
                    async for reply in replies:
                        await context.write(reply.SerializeToString())
            except BaseException as error:  # the boundary
                self._end(kind, call, error)
                await _abort(context, call, error)
            self._end(kind, call)
            _name_call(context, call)

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
        many: Many | None = None,
    ) -> "grpc.RpcMethodHandler[bytes, bytes]":
        """A method of a stream of requests, each counted and answered as a call of its own, in their order.

        Requests that `many` takes are answered by as many replies as it gives, which wait for no other request's.
        A request that fails is answered by what `refusal` makes of it, and the stream goes on; where the caller has
        set `strict_header` to `true`, the stream ends with the status instead. At most `max_requests` are in flight.
        """
        kind = Kind(service, method)

        async def run(requests: AsyncIterator[bytes], context: Context) -> None:
            opened = self._open(context)
            strict = header(context.invocation_metadata(), strict_header).lower() == "true"

            def refused(request: Message | None, call: Call, error: BaseException) -> bytes:
                """Counts a failure, and makes the reply; raises where it must end the stream."""
                self._end(kind, call, error)
                if not isinstance(error, Exception):
                    raise error
                status = rich_status(error, call.request_id)
                if strict:
                    raise _StreamEnded(status) from error
                return refusal(request, status).SerializeToString()

            async def one(asked: Asked[Request], call: Call) -> bytes:
                self._begin(kind)
                try:
                    reply = (await handler(_taken(asked, call), call)).SerializeToString()
                except BaseException as error:  # the boundary: one request's failure is not its neighbours'
                    return refused(asked.request, call, error)
                self._end(kind, call)
                return reply

            async def several(asked: Asked[Request], call: Call, handle: StreamHandler) -> AsyncGenerator[bytes, None]:
                self._begin(kind)
                try:
                    async with aclosing(handle(_taken(asked, call), call)) as replies:
                        async for reply in replies:
                            yield reply.SerializeToString()
                except BaseException as error:  # the boundary
                    last = refused(asked.request, call, error)
                else:
                    self._end(kind, call)
                    return
                yield last

            def answer(content: bytes) -> Coroutine[Any, Any, bytes] | AsyncGenerator[bytes, None]:
                call = Call(opened.request_id, self._clock.now(), opened.deadline)
                asked = Asked.read(request_type, content)
                if many is not None and asked.request is not None and many.takes(asked.request):
                    return several(asked, call, many.handler)
                return one(asked, call)

            try:
                if self._lifecycle.draining:
                    # Python's asyncio clients report a stream that ends before their first message as INTERNAL.
                    await anext(requests, None)
                    problem = _draining()
                    self._tell(kind, opened, problem)
                    raise problem
                with self._streaming(RequestStream(requests, context.write, answer, max_requests)) as stream:
                    await stream.serve()
            except BaseException as error:  # the boundary
                await _abort(context, opened, error)
            _name_call(context, opened)

        return grpc.stream_stream_rpc_method_handler(run)

    def unimplemented(self, service: str, method: str, why: str) -> "grpc.RpcMethodHandler[bytes, bytes]":
        """A method of the protocol that is answered with NOT_IMPLEMENTED, whatever it is sent."""
        kind = Kind(service, method, while_draining=True)

        async def refuse(_: bytes, context: Context) -> bytes:
            call = self._open(context)
            error = NotImplementedHere(f"{method} is not offered by this server: {why}")
            self._tell(kind, call, error)
            await _abort(context, call, error)

        return grpc.unary_unary_rpc_method_handler(refuse)

    def _open(self, context: Context) -> Call:
        """The call before its first message is read."""
        now, remaining = self._clock.now(), context.time_remaining()
        request_id = header_id(context.invocation_metadata()) or self._ids.next()
        # Each call is a task of its own, so its id in the logs' context needs no taking back.
        set_request_id(request_id)
        self._unsent.add_current()
        return Call(request_id, now, None if remaining is None else now + remaining)

    def _begin(self, kind: Kind) -> None:
        """Counts a call, or a request of a stream, in."""
        self._in_flight += not kind.while_draining

    def _check_open(self, kind: Kind) -> None:
        """Raises ServerDraining."""
        if self._lifecycle.draining and not kind.while_draining:
            raise _draining()

    def _end(self, kind: Kind, call: Call, error: BaseException | None = None) -> None:
        """Counts it out, and tells the observer."""
        self._in_flight -= not kind.while_draining
        self._rest()
        self._tell(kind, call, error)

    def _tell(self, kind: Kind, call: Call, error: BaseException | None) -> None:
        now = self._clock.now()
        reason, request_s = ended_by(error, call, now), now - call.started_at
        self._observer.request_finished(kind.service, kind.method, call.model, call.version, reason, request_s)

    def _rest(self) -> None:
        """Tells who waits for it that nothing is in flight."""
        if not (self._in_flight or self._streams):
            self._idle.set()

    @contextmanager
    def _streaming(self, stream: RequestStream) -> Iterator[RequestStream]:
        """Keeps a stream among those that a drain ends and waits for."""
        self._streams.add(stream)
        try:
            yield stream
        finally:
            self._streams.discard(stream)
            self._rest()


def _parse(request_type: type[Request], content: bytes, call: Call) -> Request:
    """The message; the id that it carries, if any, becomes the call's. Raises what `parse` raises."""
    request, own_id = parse(request_type, content)
    _name(call, own_id)
    return request


def _taken(asked: Asked[Request], call: Call) -> Request:
    """The message, as `_parse` gives it; in the task that answers it, so that its id is that task's alone."""
    request = asked.message()
    _name(call, asked.own_id)
    return request


def _name(call: Call, own_id: str) -> None:
    if own_id:
        call.request_id = own_id
        set_request_id(own_id)


def _draining() -> ServerDraining:
    return ServerDraining("the server is about to stop and takes no new calls")


async def _abort(context: Context, call: Call, error: BaseException) -> NoReturn:
    """Ends a call with the status of its error; raises, as the library wants it, and a cancellation as it came.

    Setting the status and returning would cost less, but then a message goes out before the status: a proxy can neither
    retry such a call elsewhere nor turn its status into HTTP's.
    """
    if not isinstance(error, Exception):
        raise error
    status = error.status if isinstance(error, _StreamEnded) else rich_status(error, call.request_id)
    await context.abort(status.code, status.details, status.trailing_metadata)


def _name_call(context: Context, call: Call) -> None:
    """The trailers of an answered call tell its id; those of a refused one have it in the status."""
    context.set_trailing_metadata(((REQUEST_ID_HEADER, call.request_id),))
