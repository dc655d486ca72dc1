"""`grpc.health.v1`: Check and Watch, for the whole server, for each service, each model and each of its versions.

The library's own asyncio servicer loses the other watchers of a service when one of them leaves, hence this one.
"""

import asyncio
from collections.abc import AsyncGenerator, Collection

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from server.errors import ModelNotFound, NotFound, Unavailable
from server.registry import Registry
from server.rpc.addressing import find, shown
from server.rpc.call import Call
from server.rpc.calls import Calls

SERVICE = "grpc.health.v1.Health"


class Health:
    """Answers from the registry; a name is empty (the server), a service's, `model`, `model/version`, `model/alias`."""

    def __init__(self, registry: Registry, services: Collection[str]) -> None:
        self._registry = registry
        self._services = frozenset(services) | {""}
        self._changed = asyncio.Event()
        self._closing = False
        registry.subscribe(self.refresh)

    def handler(self, calls: Calls) -> "grpc.GenericRpcHandler[bytes, bytes]":
        """Both methods, to be answered until the very end."""
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "Check": calls.unary(SERVICE, "Check", HealthCheckRequest, self.check, while_draining=True),
                "Watch": calls.server_stream(SERVICE, "Watch", HealthCheckRequest, self.watch, while_draining=True),
            },
        )

    def refresh(self) -> None:
        """Lets every watcher look again."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def close(self) -> None:
        """Ends every watch: a stream that nobody ends would hold the server until its grace period is over."""
        self._closing = True
        self.refresh()

    async def check(self, request: HealthCheckRequest, _: Call) -> HealthCheckResponse:
        """The state now. Raises ModelNotFound for a name that is neither a service nor a model."""
        status = self._status(request.service)
        if status == HealthCheckResponse.SERVICE_UNKNOWN:
            raise ModelNotFound(f"neither a service nor a model is named {shown(request.service)}")
        return HealthCheckResponse(status=status)

    async def watch(self, request: HealthCheckRequest, _: Call) -> AsyncGenerator[HealthCheckResponse, None]:
        """The state now and whenever it changes; a name that is unknown may become known."""
        told: int | None = None
        while True:
            changed = self._changed
            status = self._status(request.service)
            if status != told:
                told = status
                yield HealthCheckResponse(status=status)
            if self._closing:
                return
            await changed.wait()

    def _status(self, name: str) -> "HealthCheckResponse.ServingStatus":
        if name in self._services:
            serving = self._registry.ready()
            return HealthCheckResponse.SERVING if serving else HealthCheckResponse.NOT_SERVING
        model, _, version = name.partition("/")
        try:
            find(self._registry, model, version)
        except NotFound:
            return HealthCheckResponse.SERVICE_UNKNOWN
        except Unavailable:
            return HealthCheckResponse.NOT_SERVING
        return HealthCheckResponse.NOT_SERVING if self._registry.draining else HealthCheckResponse.SERVING
