"""One call over gRPC, as a blocking and as an asyncio function; everything else is shared.

A `Call` says what to send and how to read the reply. Modules of the tasks build calls without touching the network,
the two transports carry them, and both clients are thin over both.
"""

import uuid
from collections.abc import AsyncGenerator, Callable, Generator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from attendant.channel import Connection, check_timeout
from attendant.errors import AttendantError, error_from_status

Reply = TypeVar("Reply", bound=Message)
Result = TypeVar("Result")


def new_request_id() -> str:
    """A fresh id of 32 hexadecimal digits, to find one call in the server's log."""
    return uuid.uuid4().hex


@dataclass(frozen=True, slots=True)
class Method(Generic[Reply]):
    """An RPC of one request: its full path and the type of its reply, or of each of its replies."""

    path: str
    reply: type[Reply]


@dataclass(frozen=True, slots=True)
class Call(Generic[Reply, Result]):
    """A request to send and the function that reads its reply."""

    method: Method[Reply]
    request: Message
    parse: Callable[[Reply], Result]
    request_id: str = ""
    """The id that `request` carries, for errors; empty where it has none."""


class Transport:
    """Carries calls and blocks; safe to share between threads."""

    def __init__(self, connection: Connection) -> None:
        self._timeout_s = connection.timeout_s
        self._channel = _open_channel(grpc, connection)
        self._methods: dict[str, Callable[..., Any]] = {}

    def run(self, call: Call[Reply, Result], timeout_s: float | None = None) -> Result:
        """Sends and waits, at most `timeout_s` (the connection's where None), retries included.

        Raises AttendantError.
        """
        send = _method(self._channel.unary_unary, self._methods, call.method)
        timeout = self._timeout_s if timeout_s is None else check_timeout(timeout_s)
        try:
            reply = send(call.request, timeout=timeout)
        except grpc.RpcError as error:
            raise _typed(error, call.request_id) from None
        return call.parse(reply)

    def stream(self, call: Call[Reply, Result], timeout_s: float | None = None) -> Generator[Result, None, None]:
        """Sends, and gives each reply as it comes, the last within `timeout_s`; closing it cancels the call.

        Raises AttendantError.
        """
        send = _method(self._channel.unary_stream, self._methods, call.method)
        running = send(call.request, timeout=self._timeout_s if timeout_s is None else check_timeout(timeout_s))
        try:
            for reply in running:
                yield call.parse(reply)
        except grpc.RpcError as error:
            raise _typed(error, call.request_id) from None
        finally:
            running.cancel()

    def close(self) -> None:
        """Closes the connection and cancels running calls."""
        self._channel.close()


class AsyncTransport:
    """Carries calls on an event loop; the connection is made at the first call, on the loop that makes it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._channel: Any = None
        self._methods: dict[str, Callable[..., Any]] = {}

    async def run(self, call: Call[Reply, Result], timeout_s: float | None = None) -> Result:
        """The asyncio twin of `Transport.run`; cancelling the task cancels the call.

        Raises AttendantError.
        """
        send = _method(self._opened().unary_unary, self._methods, call.method)
        timeout = self._connection.timeout_s if timeout_s is None else check_timeout(timeout_s)
        try:
            reply = await send(call.request, timeout=timeout)
        except grpc.RpcError as error:
            raise _typed(error, call.request_id) from None
        return call.parse(reply)

    async def stream(self, call: Call[Reply, Result], timeout_s: float | None = None) -> AsyncGenerator[Result, None]:
        """The asyncio twin of `Transport.stream`; cancelling the task, or closing the generator, cancels the call.

        Raises AttendantError.
        """
        send = _method(self._opened().unary_stream, self._methods, call.method)
        timeout = self._connection.timeout_s if timeout_s is None else check_timeout(timeout_s)
        running = send(call.request, timeout=timeout)
        try:
            async for reply in running:
                yield call.parse(reply)
        except grpc.RpcError as error:
            raise _typed(error, call.request_id) from None
        finally:
            running.cancel()

    def _opened(self) -> Any:
        if self._channel is None:
            self._channel = _open_channel(grpc.aio, self._connection)
        return self._channel

    async def close(self) -> None:
        """Closes the connection and cancels running calls; a later call opens a new one."""
        channel, self._channel = self._channel, None
        self._methods.clear()
        if channel is not None:
            await channel.close(None)


def _open_channel(library: Any, connection: Connection) -> Any:
    """A channel of `grpc` or `grpc.aio`, which open theirs alike."""
    if connection.tls is None:
        return library.insecure_channel(connection.address, options=connection.options())
    return library.secure_channel(connection.address, connection.tls, options=connection.options())


def _method(
    make: Callable[..., Any], methods: dict[str, Callable[..., Any]], method: Method[Reply]
) -> Callable[..., Any]:
    """The channel's callable for `method`, made once, by the channel's `unary_unary` or `unary_stream`."""
    if method.path not in methods:
        methods[method.path] = make(
            method.path, request_serializer=_serialize, response_deserializer=method.reply.FromString
        )
    return methods[method.path]


def _serialize(request: Message) -> bytes:
    return request.SerializeToString()


def _typed(error: Any, request_id: str) -> AttendantError:
    """The typed form of an RpcError, whose two kinds (`grpc`, `grpc.aio`) share only these three methods."""
    return error_from_status(error.code(), error.details() or "", error.trailing_metadata() or (), request_id)
