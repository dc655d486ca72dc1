"""The gRPC server: one port with every service, health and reflection."""

import asyncio
import errno
from contextlib import suppress
from typing import Protocol

import grpc
from grpc_reflection.v1alpha import reflection

from server.clock import Clock
from server.registry import Registry
from server.rpc import attendant, health, open_inference
from server.rpc.attendant.attention import AttentionObserver
from server.rpc.attendant.service import AttendantService
from server.rpc.call import CallObserver
from server.rpc.calls import Calls
from server.rpc.health import Health
from server.rpc.open_inference.service import OpenInferenceService
from server.rpc.reflection import reflection_pool
from server.rpc.sockets import hang_up
from server.settings import GrpcSettings, Settings

FLUSH_S = 1.0
"""At the end: time in which replies on their way may still be sent, and then cancelled handlers may still finish."""
MIN_PING_INTERVAL_MS = 10_000
"""Clients that ping more often than this are told to calm down."""


class RpcObserver(CallObserver, AttentionObserver, Protocol):
    """Told of every call."""


class RpcServer:
    """Listens from `start` to `stop`; in between, `drain` refuses new work and waits for the old."""

    def __init__(self, registry: Registry, settings: Settings, observer: RpcObserver, clock: Clock) -> None:
        services = (open_inference.SERVICE, attendant.SERVICE)
        self._settings = settings.grpc
        self._calls = Calls(registry, observer, clock)
        self._health = Health(registry, services)
        self._port = 0
        self._server = grpc.aio.server(
            options=_options(settings.grpc), maximum_concurrent_rpcs=settings.grpc.max_concurrent_rpcs
        )
        self._open_inference = OpenInferenceService(registry, settings, clock)
        self._server.add_generic_rpc_handlers(
            (
                self._open_inference.handler(self._calls),
                AttendantService(registry, settings, clock, observer).handler(self._calls),
                self._health.handler(self._calls),
            )
        )
        names = (*services, health.SERVICE, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server, reflection_pool())

    @property
    def in_flight(self) -> int:
        """Calls that have begun and not ended, watches of health aside."""
        return self._calls.in_flight

    async def start(self) -> int:
        """Listens; returns the port. Raises OSError if the address cannot be listened on."""
        host, port = self._settings.host, self._settings.port
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            self._port = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise OSError(errno.EADDRINUSE, f"cannot listen on {address}: is the port in use?") from error
        await self._server.start()
        return self._port

    async def drain(self) -> None:
        """Tells watchers, ends streams, returns once no call is in flight; the registry must be draining already."""
        self._health.refresh()
        self._calls.end_streams()
        await self._calls.wait_idle()

    async def stop(self) -> None:
        """Ends watches and streams, lets replies out, hangs up, cancels what is still running."""
        self._health.close()
        self._calls.end_streams()
        if not self.in_flight:
            await self._calls.flush(FLUSH_S)
        if self._port:
            hang_up(self._port)
        await self._server.stop(None)
        # The library cancels handlers without waiting for them; what they hold and count must be let go of first.
        with suppress(TimeoutError):
            await asyncio.wait_for(self._calls.wait_idle(), FLUSH_S)
        self._open_inference.close()


def _options(settings: GrpcSettings) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_send_message_length", -1),
        # Two processes on one port would split its traffic between two stores unnoticed.
        ("grpc.so_reuseport", 0),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", MIN_PING_INTERVAL_MS),
    ]
