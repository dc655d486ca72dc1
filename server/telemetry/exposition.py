"""The metrics port: /metrics, /livez and /readyz over HTTP, on a thread and event loop of its own.

A scraper must not be able to harm: each connection carries one request, of bounded size and time, and there is a
bound on connections. What is busy on the serving loop delays nothing here, and the other way round.
"""

import asyncio
import gzip
import logging
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus

from prometheus_client.exposition import gzip_accepted

from server.telemetry.metrics import Metrics

_log = logging.getLogger(__name__)

Probe = Callable[[], str | None]
"""None while all is well, else a short reason; called from the exposing thread, so it must be quick and only read."""

MAX_REQUEST_BYTES = 16 * 1024
MAX_CONNECTIONS = 64
TIMEOUT_S = 10.0
"""For a whole request, reply included."""
ACCEPT_PAUSE_S = 1.0
"""Between two tries to accept a connection where the process has no file descriptors left."""

_TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class _Reply:
    status: HTTPStatus
    body: bytes = b""
    content_type: str = _TEXT
    headers: Mapping[str, str] = field(default_factory=dict)


class Exposition:
    """Serves until closed."""

    def __init__(
        self, metrics: Metrics, *, live: Probe, ready: Probe, host: str, port: int, timeout_s: float = TIMEOUT_S
    ) -> None:
        self._metrics = metrics
        self._probes = {"/livez": live, "/readyz": ready}
        self._host = host
        self._port = port
        self._timeout_s = timeout_s
        self._connections: set[asyncio.Task[None]] = set()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop
        self._stopping: asyncio.Event

    @property
    def port(self) -> int:
        """The port that is listened on, once started."""
        return self._port

    def start(self) -> int:
        """Begins to listen and returns the port, a free one where 0 was asked for.

        Raises OSError if the address cannot be used.
        """
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        listener = socket.create_server((self._host, self._port), family=family, backlog=MAX_CONNECTIONS)
        listener.setblocking(False)
        self._port = listener.getsockname()[1]
        started = threading.Event()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(listener, started)), name="metrics", daemon=True
        )
        self._thread.start()
        started.wait()
        return self._port

    def close(self) -> None:
        """Stops listening, drops open connections and ends the thread; does nothing if it is not running."""
        if self._thread is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join()
            self._thread = None

    async def _serve(self, listener: socket.socket, started: threading.Event) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        with listener:
            self._loop.add_reader(listener, self._accept, listener)
            started.set()
            await self._stopping.wait()
            self._loop.remove_reader(listener)
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _accept(self, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError:
            _log.exception("the metrics port cannot accept a connection")
            self._pause(listener)
            return
        if len(self._connections) >= MAX_CONNECTIONS:
            connection.close()
            return
        connection.setblocking(False)
        conversation = self._loop.create_task(self._converse(connection))
        self._connections.add(conversation)
        conversation.add_done_callback(partial(self._ended, connection))

    def _pause(self, listener: socket.socket) -> None:
        """Without file descriptors accepting fails at once for ever: trying again without rest would take a core."""

        def resume() -> None:
            if not self._stopping.is_set():
                self._loop.add_reader(listener, self._accept, listener)

        self._loop.remove_reader(listener)
        self._loop.call_later(ACCEPT_PAUSE_S, resume)

    def _ended(self, connection: socket.socket, conversation: asyncio.Task[None]) -> None:
        """Runs even for a conversation that is cancelled before its first step, which no `finally` in it would see."""
        self._connections.discard(conversation)
        connection.close()

    async def _converse(self, connection: socket.socket) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                reader, writer = await asyncio.open_connection(sock=connection, limit=MAX_REQUEST_BYTES)
                try:
                    await self._answer(reader, writer)
                    writer.close()
                    await writer.wait_closed()
                finally:
                    # Whatever is still unsent belongs to a reader that does not read.
                    writer.transport.abort()
        except (TimeoutError, OSError, asyncio.IncompleteReadError):
            _log.debug("a connection to the metrics port was given up")

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            method, path, headers = _parse(head.decode("latin-1"))
        except asyncio.LimitOverrunError:
            method, reply = "GET", _Reply(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, b"the request is too long\n")
        except ValueError:
            method, reply = "GET", _Reply(HTTPStatus.BAD_REQUEST, b"not an HTTP request\n")
        else:
            reply = self._safe_reply(method, path, headers)
        writer.write(_serialise(reply, with_body=method != "HEAD"))
        await writer.drain()

    def _safe_reply(self, method: str, path: str, headers: Mapping[str, str]) -> _Reply:
        try:
            return self._reply(method, path, headers)
        except Exception:  # the boundary: a scrape that fails must not end the thread
            _log.exception("a request to the metrics port failed")
            return _Reply(HTTPStatus.INTERNAL_SERVER_ERROR, b"failed; the log has the cause\n")

    def _reply(self, method: str, path: str, headers: Mapping[str, str]) -> _Reply:
        probe = self._probes.get(path)
        if probe is None and path != "/metrics":
            return _Reply(HTTPStatus.NOT_FOUND, b"there are /metrics, /livez and /readyz\n")
        if method not in ("GET", "HEAD"):
            return _Reply(HTTPStatus.METHOD_NOT_ALLOWED, b"GET and HEAD only\n", headers={"Allow": "GET, HEAD"})
        if probe is None:
            return self._metrics_reply(headers)
        problem = probe()
        if problem is None:
            return _Reply(HTTPStatus.OK, b"ok\n")
        return _Reply(HTTPStatus.SERVICE_UNAVAILABLE, f"{problem}\n".encode(errors="replace"))

    def _metrics_reply(self, headers: Mapping[str, str]) -> _Reply:
        body, content_type = self._metrics.expose(headers.get("accept", ""))
        if gzip_accepted(headers.get("accept-encoding", "")):
            return _Reply(HTTPStatus.OK, gzip.compress(body), content_type, {"Content-Encoding": "gzip"})
        return _Reply(HTTPStatus.OK, body, content_type)


def _parse(head: str) -> tuple[str, str, dict[str, str]]:
    """(method, path, headers by lower-case name) of a request; the query is dropped.

    Raises ValueError where it is no HTTP request.
    """
    if any(not (char.isprintable() or char in "\r\n\t") for char in head) or "\n" in head.replace("\r\n", ""):
        raise ValueError("control characters")
    request_line, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
    method, target, protocol = request_line.split(" ")
    if not protocol.startswith("HTTP/1."):
        raise ValueError(protocol)
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise ValueError("a header without a colon")
        headers[name.strip().lower()] = value.strip()
    return method, target.partition("?")[0], headers


def _serialise(reply: _Reply, *, with_body: bool) -> bytes:
    headers = {
        "Content-Type": reply.content_type,
        "Content-Length": str(len(reply.body)),
        "Connection": "close",
        "Cache-Control": "no-store",
        **reply.headers,
    }
    lines = [f"HTTP/1.1 {reply.status.value} {reply.status.phrase}", *(f"{k}: {v}" for k, v in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (reply.body if with_body else b"")
