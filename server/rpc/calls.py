"""What wraps every handler: parse, identify, bound in time, count, and turn errors into statuses.

A handler gets a parsed message and its `Call`, returns a message or raises; nothing else of gRPC reaches it. Bytes
come in unparsed, so that an undecodable message is our INVALID_ARGUMENT and not the library's INTERNAL.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from server.clock import Clock
from server.errors import (
    DeadlineExpired,
    MalformedMessage,
    NotImplementedHere,
    ParameterInvalid,
    RequestCancelled,
    ServerDraining,
)
from server.rpc.status import rich_status
from server.telemetry.logs import set_request_id

REQUEST_ID_HEADER = "x-request-id"
MAX_REQUEST_ID_CHARACTERS = 128
OK = "OK"

Request = TypeVar("Request", bound=Message)
Context = grpc.aio.ServicerContext[bytes, bytes]


class CallObserver(Protocol):
    """Told when a call ends."""

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


class Calls:
    """Wraps handlers; knows how many calls are in flight.

    A method marked `while_draining` answers until the very end: it is neither refused by a drain nor waited for.
    """

    def __init__(self, lifecycle: Draining, observer: CallObserver, clock: Clock) -> None:
        self._lifecycle = lifecycle
        self._observer = observer
        self._clock = clock
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def in_flight(self) -> int:
        """Calls that have begun and not ended."""
        return self._in_flight

    async def wait_idle(self) -> None:
        """Returns once no call is in flight."""
        await self._idle.wait()

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

    def unimplemented(
        self, service: str, method: str, why: str, *, streaming: bool
    ) -> "grpc.RpcMethodHandler[bytes, bytes]":
        """A method of the protocol that is answered with NOT_IMPLEMENTED, whatever it is sent."""

        async def refuse(requests: bytes | AsyncIterator[bytes], context: Context) -> None:
            async with self._answering(service, method, context, while_draining=True):
                if not isinstance(requests, bytes):
                    # Python's asyncio clients report a stream that ends before their first message as INTERNAL.
                    await anext(aiter(requests), None)
                raise NotImplementedHere(f"{method} is not offered by this server: {why}")

        make = grpc.stream_stream_rpc_method_handler if streaming else grpc.unary_unary_rpc_method_handler
        return make(refuse)

    @asynccontextmanager
    async def _answering(
        self, service: str, method: str, context: Context, while_draining: bool
    ) -> AsyncIterator[Call]:
        """Counts a call in and out; what is raised inside becomes the call's status."""
        call = Call(_header_id(context) or uuid.uuid4().hex, self._clock.now(), self._deadline(context))
        # Each call is a task of its own, so its id in the logs' context needs no taking back.
        set_request_id(call.request_id)
        reason = OK
        self._count(0 if while_draining else 1)
        try:
            if self._lifecycle.draining and not while_draining:
                raise ServerDraining("the server is about to stop and takes no new calls")
            yield call
            context.set_trailing_metadata(((REQUEST_ID_HEADER, call.request_id),))
        except asyncio.CancelledError:
            # The caller has gone, or its deadline has passed: gRPC cancels the handler for both.
            expired = call.deadline is not None and self._clock.now() >= call.deadline
            reason = DeadlineExpired.reason if expired else RequestCancelled.reason
            raise
        except Exception as error:  # the boundary: whatever it was, the caller gets a status and the log the cause
            status = rich_status(error, call.request_id)
            reason = status.reason
            await context.abort(status.code, status.details, status.trailing_metadata)
        finally:
            self._count(0 if while_draining else -1)
            request_s = self._clock.now() - call.started_at
            self._observer.request_finished(service, method, call.model, call.version, reason, request_s)

    def _deadline(self, context: Context) -> float | None:
        remaining = context.time_remaining()
        return None if remaining is None else self._clock.now() + remaining

    def _count(self, change: int) -> None:
        self._in_flight += change
        if self._in_flight:
            self._idle.clear()
        else:
            self._idle.set()


def _parse(request_type: type[Request], content: bytes, call: Call) -> Request:
    """The message; the id that it carries, if any, becomes the call's.

    Raises MalformedMessage, or ParameterInvalid for an id that cannot stand in logs and headers.
    """
    try:
        request = request_type.FromString(content)
    except DecodeError as error:
        raise MalformedMessage(f"the {len(content)} bytes are no {request_type.DESCRIPTOR.full_name}") from error
    own_id = _message_id(request)
    if own_id:
        if not valid_request_id(own_id):
            raise ParameterInvalid(f"a request id is at most {MAX_REQUEST_ID_CHARACTERS} printable ASCII characters")
        call.request_id = own_id
        set_request_id(own_id)
    return request


def valid_request_id(text: str) -> bool:
    """Whether an id may stand in logs and headers as it is."""
    return 0 < len(text) <= MAX_REQUEST_ID_CHARACTERS and text.isascii() and text.isprintable()


def _message_id(request: Message) -> str:
    """The field that carries the caller's id: `id` in the Open Inference Protocol, `request_id` in attendant.v1."""
    for name in ("request_id", "id"):
        if name in request.DESCRIPTOR.fields_by_name:
            return str(getattr(request, name))
    return ""


def _header_id(context: Context) -> str:
    """The caller's header, which a proxy may have set: one that cannot be used is ignored, not refused."""
    for key, value in context.invocation_metadata() or ():
        if key == REQUEST_ID_HEADER and isinstance(value, str) and valid_request_id(value):
            return value
    return ""
