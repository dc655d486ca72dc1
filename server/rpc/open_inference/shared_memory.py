"""SystemSharedMemoryRegister, -Status and -Unregister, and tensors in shared memory, where they are switched on."""

from collections.abc import Iterable, Mapping

from server.errors import MalformedTensor, NotImplementedHere, SignatureMismatch
from server.rpc.addressing import shown
from server.rpc.call import Call
from server.rpc.open_inference.parameters import SHARED_MEMORY, read_input_part
from server.rpc.open_inference.regions import Region, RegionPart, Regions
from server.settings import SecuritySettings
from server.wire import grpc_service_pb2 as wire

_Named = wire.ModelInferRequest.InferInputTensor | wire.ModelInferRequest.InferRequestedOutputTensor

SWITCHED_OFF = "shared memory named by callers is switched off (security.system_shared_memory)"


class SharedMemory:
    """The regions of this server process; another replica has its own."""

    def __init__(self, settings: SecuritySettings) -> None:
        self._enabled = settings.system_shared_memory
        self._max_tensor_bytes = settings.max_tensor_bytes
        self._regions = Regions(settings)

    # --- calls ----------------------------------------------------------------------------------------------------

    async def status(
        self, request: wire.SystemSharedMemoryStatusRequest, _: Call
    ) -> wire.SystemSharedMemoryStatusResponse:
        """One region or all. Raises NotImplementedHere where switched off, RegionNotFound."""
        self._check_enabled()
        return wire.SystemSharedMemoryStatusResponse(
            regions={region.name: _status(region) for region in self._regions.registered(request.name)}
        )

    async def register(
        self, request: wire.SystemSharedMemoryRegisterRequest, _: Call
    ) -> wire.SystemSharedMemoryRegisterResponse:
        """Registers a region. Raises NotImplementedHere where switched off, what `Regions.register` raises."""
        self._check_enabled()
        self._regions.register(request.name, request.key, request.offset, request.byte_size)
        return wire.SystemSharedMemoryRegisterResponse()

    async def unregister(
        self, request: wire.SystemSharedMemoryUnregisterRequest, _: Call
    ) -> wire.SystemSharedMemoryUnregisterResponse:
        """Forgets one region or all. Raises NotImplementedHere where switched off."""
        self._check_enabled()
        self._regions.unregister(request.name)
        return wire.SystemSharedMemoryUnregisterResponse()

    def close(self) -> None:
        """Forgets all regions."""
        self._regions.unregister()

    # --- tensors --------------------------------------------------------------------------------------------------

    def check_allowed(self, request: wire.ModelInferRequest) -> None:
        """Raises NotImplementedHere for a tensor in shared memory where that is switched off."""
        if not self._enabled:
            named: tuple[_Named, ...] = (*request.inputs, *request.outputs)
            for item in named:
                if item.parameters and any(name in item.parameters for name in SHARED_MEMORY):
                    raise NotImplementedHere(f"{shown(item.name)}: {SWITCHED_OFF}; send the bytes")

    async def read_inputs(self, request: wire.ModelInferRequest, max_inputs: int) -> Mapping[str, bytes]:
        """The raw bytes of the inputs that lie in shared memory, by name; `max_inputs` is what the model can take.

        Raises ParameterInvalid, MalformedTensor for contents beside a region, SignatureMismatch for more inputs than
        `max_inputs`, what `Regions.read` raises.
        """
        parts: list[tuple[str, RegionPart]] = []
        for item in request.inputs:
            part = read_input_part(item)
            if part is None:
                continue
            if item.contents.ByteSize():
                raise MalformedTensor(f"input {shown(item.name)} has contents and a region; use one of the two")
            parts.append((item.name, part))
        if len(parts) > max_inputs:  # before any is copied: one region may be named any number of times
            raise SignatureMismatch(f"{len(parts)} inputs in shared memory; the model takes {max_inputs} inputs")
        return {name: await self._regions.read(part, self._max_tensor_bytes) for name, part in parts}

    def check_outputs(self, parts: Iterable[RegionPart | None]) -> None:
        """Before any work: raises what `Regions.check_output` raises."""
        for part in parts:
            if part is not None:
                self._regions.check_output(part)

    async def write_output(self, part: RegionPart, content: bytes) -> None:
        """Puts an output's raw bytes into its part. Raises what `Regions.write` raises."""
        await self._regions.write(part, content)

    def _check_enabled(self) -> None:
        if not self._enabled:
            raise NotImplementedHere(SWITCHED_OFF)


def _status(region: Region) -> wire.SystemSharedMemoryStatusResponse.RegionStatus:
    return wire.SystemSharedMemoryStatusResponse.RegionStatus(
        name=region.name, key=region.key, offset=region.offset, byte_size=region.byte_size
    )
