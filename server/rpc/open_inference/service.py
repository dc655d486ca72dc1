"""The table of `inference.GRPCInferenceService`: every method of the protocol, and what answers it."""

from functools import partial
from typing import Any

import grpc

from server.clock import Clock
from server.errors import ModelNotReady, NotFound
from server.registry import Registry
from server.rpc.addressing import find
from server.rpc.call import Call
from server.rpc.calls import Calls, Handler, Many
from server.rpc.open_inference import SERVICE
from server.rpc.open_inference.infer import Inference
from server.rpc.open_inference.log_control import LogControl
from server.rpc.open_inference.metadata import model_metadata, repository_index
from server.rpc.open_inference.model_config import model_config
from server.rpc.open_inference.repository import RepositoryControl
from server.rpc.open_inference.shared_memory import SharedMemory
from server.rpc.open_inference.statistics import model_statistics
from server.rpc.open_inference.stream import STRICT_HEADER, refused, stream_increments, stream_infer
from server.servable import Servable
from server.settings import Settings
from server.version import server_version
from server.wire import grpc_service_pb2 as wire

SERVER_NAME = "attendant"
EXTENSIONS = ("classification", "model_configuration", "statistics", "schedule_policy")
"""Triton's names of what works here in every mode."""
MODEL_REPOSITORY = ("model_repository", "model_repository(unload_dependents)")
"""Load and unload by RPC, where `store.control` is `explicit`."""

SYSTEM_SHARED_MEMORY = "system_shared_memory"
"""Tensors in shared memory, where `security.system_shared_memory` is on."""
LOGGING = "logging"
"""Log settings by call, where `security.log_control` is on."""

UNIMPLEMENTED = {
    "CudaSharedMemoryStatus": "memory of a GPU is not shared with callers",
    "CudaSharedMemoryRegister": "memory of a GPU is not shared with callers",
    "CudaSharedMemoryUnregister": "memory of a GPU is not shared with callers",
    "TraceSetting": "requests are not traced",
}


class OpenInferenceService:
    """Answers from the registry; each method reads its message, asks one module, and makes the reply."""

    def __init__(self, registry: Registry, settings: Settings, clock: Clock) -> None:
        self._registry = registry
        self._settings = settings
        self._shared_memory = SharedMemory(settings.security)
        self._inference = Inference(registry, settings, self._shared_memory, clock)
        self._control = RepositoryControl(registry, settings.store)
        self._logs = LogControl(settings.telemetry, allowed=settings.security.log_control)

    def handler(self, calls: Calls) -> "grpc.GenericRpcHandler[bytes, bytes]":
        """All methods of the protocol."""
        questions: dict[str, tuple[type[Any], Handler]] = {
            "ServerLive": (wire.ServerLiveRequest, self.server_live),
            "ServerReady": (wire.ServerReadyRequest, self.server_ready),
            "ModelReady": (wire.ModelReadyRequest, self.model_ready),
            "ServerMetadata": (wire.ServerMetadataRequest, self.server_metadata),
            "ModelMetadata": (wire.ModelMetadataRequest, self.model_metadata),
            "ModelConfig": (wire.ModelConfigRequest, self.model_config),
            "ModelStatistics": (wire.ModelStatisticsRequest, self.model_statistics),
            "RepositoryIndex": (wire.RepositoryIndexRequest, self.repository_index),
            "SystemSharedMemoryStatus": (wire.SystemSharedMemoryStatusRequest, self._shared_memory.status),
            "SystemSharedMemoryUnregister": (wire.SystemSharedMemoryUnregisterRequest, self._shared_memory.unregister),
            "LogSettings": (wire.LogSettingsRequest, self._logs.settings),
        }
        work: dict[str, tuple[type[Any], Handler]] = {
            "ModelInfer": (wire.ModelInferRequest, self._inference.infer),
            "RepositoryModelLoad": (wire.RepositoryModelLoadRequest, self._control.load),
            "RepositoryModelUnload": (wire.RepositoryModelUnloadRequest, self._control.unload),
            "SystemSharedMemoryRegister": (wire.SystemSharedMemoryRegisterRequest, self._shared_memory.register),
        }
        handlers = {
            name: calls.unary(SERVICE, name, request_type, handler, while_draining=name in questions)
            for name, (request_type, handler) in (questions | work).items()
        }
        handlers["ModelStreamInfer"] = calls.request_stream(
            SERVICE,
            "ModelStreamInfer",
            wire.ModelInferRequest,
            partial(stream_infer, self._inference),
            refused,
            max_requests=self._settings.grpc.max_stream_requests,
            strict_header=STRICT_HEADER,
            many=Many(self._inference.writes, partial(stream_increments, self._inference)),
        )
        for name, why in UNIMPLEMENTED.items():
            handlers[name] = calls.unimplemented(SERVICE, name, why)
        return grpc.method_handlers_generic_handler(SERVICE, handlers)

    def close(self) -> None:
        """Lets go of what callers have registered."""
        self._shared_memory.close()

    async def server_live(self, _: wire.ServerLiveRequest, __: Call) -> wire.ServerLiveResponse:
        """Whoever can answer is live."""
        return wire.ServerLiveResponse(live=True)

    async def server_ready(self, _: wire.ServerReadyRequest, __: Call) -> wire.ServerReadyResponse:
        """Whether new requests are welcome."""
        return wire.ServerReadyResponse(ready=self._registry.ready())

    async def model_ready(self, request: wire.ModelReadyRequest, call: Call) -> wire.ModelReadyResponse:
        """Whether the version can serve; as in Triton, one that does not exist is not ready, which is no error."""
        try:
            self._find(request.name, request.version, call)
        except (ModelNotReady, NotFound):
            return wire.ModelReadyResponse(ready=False)
        return wire.ModelReadyResponse(ready=not self._registry.draining)

    async def server_metadata(self, _: wire.ServerMetadataRequest, __: Call) -> wire.ServerMetadataResponse:
        """Name, version, and the extensions that work."""
        security = self._settings.security
        extensions = (
            *EXTENSIONS,
            *(MODEL_REPOSITORY if self._settings.store.control == "explicit" else ()),
            *((SYSTEM_SHARED_MEMORY,) if security.system_shared_memory else ()),
            *((LOGGING,) if security.log_control else ()),
        )
        return wire.ServerMetadataResponse(name=SERVER_NAME, version=server_version(), extensions=extensions)

    async def model_metadata(self, request: wire.ModelMetadataRequest, call: Call) -> wire.ModelMetadataResponse:
        """The model's tensors. Raises ModelNotFound, VersionNotFound, ModelNotReady."""
        return model_metadata(self._find(request.name, request.version, call), self._registry.index())

    async def model_config(self, request: wire.ModelConfigRequest, call: Call) -> wire.ModelConfigResponse:
        """The model's configuration. Raises ModelNotFound, VersionNotFound, ModelNotReady."""
        return wire.ModelConfigResponse(
            config=model_config(self._find(request.name, request.version, call), self._settings.store)
        )

    async def model_statistics(self, request: wire.ModelStatisticsRequest, call: Call) -> wire.ModelStatisticsResponse:
        """One version's statistics, or those of all versions of a model, or of all models.

        Raises ModelNotFound, VersionNotFound, ModelNotReady.
        """
        return model_statistics(self._counted(request.name, request.version, call))

    async def repository_index(self, request: wire.RepositoryIndexRequest, _: Call) -> wire.RepositoryIndexResponse:
        """Every version that the store has, loaded or not."""
        return repository_index(self._registry.index(), ready_only=request.ready)

    def _find(self, name: str, version: str, call: Call) -> Servable:
        servable = find(self._registry, name, version)
        call.served_by(servable.name, servable.version)
        return servable

    def _counted(self, name: str, version: str, call: Call) -> list[Servable]:
        if not name:
            return list(self._registry.servables())
        chosen = self._find(name, version, call)
        return [chosen] if version else [each for each in self._registry.servables() if each.name == name]
