"""RepositoryModelLoad and RepositoryModelUnload, where the operator has switched control by call on."""

from collections.abc import Iterable

from server.errors import NotImplementedHere, ParameterInvalid
from server.registry import Registry
from server.rpc.addressing import checked_name, shown
from server.rpc.call import Call
from server.settings import StoreSettings
from server.wire import grpc_service_pb2 as wire

UNLOAD_DEPENDENTS = "unload_dependents"
"""Sent by Triton's clients with every unload; no model here depends on another."""


class RepositoryControl:
    """Loads and unloads models of the store, in `explicit` mode only."""

    def __init__(self, registry: Registry, store: StoreSettings) -> None:
        self._registry = registry
        self._control = store.control

    async def load(self, request: wire.RepositoryModelLoadRequest, _: Call) -> wire.RepositoryModelLoadResponse:
        """Loads a model, or brings it up to date.

        Raises NotImplementedHere in other modes and for content sent along, ParameterInvalid, ModelNotFound,
        ArtifactCorrupt.
        """
        name = self._checked(request.repository_name, request.model_name, request.parameters)
        await self._registry.load(name)
        return wire.RepositoryModelLoadResponse()

    async def unload(self, request: wire.RepositoryModelUnloadRequest, _: Call) -> wire.RepositoryModelUnloadResponse:
        """Unloads a model once its running requests are answered.

        Raises NotImplementedHere in other modes, ParameterInvalid, ModelNotFound.
        """
        name = self._checked(
            request.repository_name, request.model_name, request.parameters.keys() - {UNLOAD_DEPENDENTS}
        )
        await self._registry.unload(name)
        return wire.RepositoryModelUnloadResponse()

    def _checked(self, repository: str, model: str, parameters: Iterable[str]) -> str:
        if self._control != "explicit":
            raise NotImplementedHere(
                f"load and unload by call are switched off: store.control is {self._control!r}, not 'explicit'"
            )
        if repository:
            raise ParameterInvalid(f"no repository {shown(repository)}; there is one, without a name")
        for name in parameters:
            if name == "config" or name.startswith("file:"):
                raise NotImplementedHere(f"parameter {shown(name)}: models come from the store, not from calls")
            raise ParameterInvalid(f"unknown parameter {shown(name)}", {"parameter": name[:128]})
        return checked_name(model)
